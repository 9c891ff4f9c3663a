//! The process that reads one document, and may die of it.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use super::wire::{CRASHED, OUT_OF_MEMORY, OUT_OF_TIME, Request, TEXT, UNREADABLE};

/// Where the handlers of signals say why.
static STREAM: AtomicI32 = AtomicI32::new(-1);

/// Deep enough for any honest document.
const STACK: u64 = 64 * 1024 * 1024;
/// The handlers' own stack: the usual one may be what has run out.
const HANDLERS_STACK: usize = 64 * 1024;

/// Reads, answers, ends.
pub fn run(stream: OwnedFd, request: &Request) -> ! {
    STREAM.store(stream.as_raw_fd(), Ordering::Relaxed);
    follow_the_nursery();
    handle_signals();
    limit(request);
    let mut stream = UnixStream::from(stream);
    let mut document = Vec::with_capacity(usize::try_from(request.length).unwrap_or(0));
    let whole = (&stream).take(request.length).read_to_end(&mut document);
    if whole.is_ok_and(|read| read as u64 == request.length) {
        let (tag, text) = match crate::read(&document, request.how, request.limits.text) {
            Ok(text) => (TEXT, text),
            Err(unreadable) => (UNREADABLE, unreadable.0),
        };
        let mut head = vec![tag];
        head.extend((text.len() as u64).to_ne_bytes());
        // Whoever wanted it may be gone.
        let _ = stream.write_all(&head).and_then(|()| stream.write_all(text.as_bytes()));
    }
    // SAFETY: ends the process without anybody's handlers.
    unsafe { libc::_exit(0) }
}

fn follow_the_nursery() {
    // SAFETY: plain system calls. A nursery that ended before the first one has left us to init.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() == 1 {
            libc::_exit(0);
        }
    }
}

fn handle_signals() {
    let stack = Vec::leak(vec![0u8; HANDLERS_STACK]);
    // SAFETY: the stack lives as long as the process; the handler calls nothing but write and
    // _exit, which may be called from one.
    unsafe {
        let alternate =
            libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: HANDLERS_STACK };
        libc::sigaltstack(&raw const alternate, std::ptr::null_mut());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = last_words as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK;
        for signal in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGABRT,
            libc::SIGXCPU,
            libc::SIGPROF,
            libc::SIGALRM,
        ] {
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn last_words(signal: libc::c_int) {
    let tag = match signal {
        // The allocator's refusal ends in abort.
        libc::SIGABRT => OUT_OF_MEMORY,
        libc::SIGXCPU | libc::SIGPROF | libc::SIGALRM => OUT_OF_TIME,
        _ => CRASHED,
    };
    // SAFETY: both may be called in a handler; the byte lives through the call.
    unsafe {
        libc::write(STREAM.load(Ordering::Relaxed), (&raw const tag).cast(), 1);
        libc::_exit(1);
    }
}

fn limit(request: &Request) {
    let limits = &request.limits;
    let memory = address_space().saturating_add(limits.memory).saturating_add(request.length);
    let seconds = limits.time.as_secs() + 2;
    set(libc::RLIMIT_CORE, 0);
    set(libc::RLIMIT_FSIZE, 0);
    set(libc::RLIMIT_CPU, seconds);
    set(libc::RLIMIT_STACK, STACK);
    set(libc::RLIMIT_AS, memory);
    // No file, no socket, whatever a reader is talked into.
    set(libc::RLIMIT_NOFILE, 0);
    alarm_after(libc::ITIMER_PROF, limits.time);
    alarm_after(libc::ITIMER_REAL, limits.time * 2);
}

/// What is mapped already.
fn address_space() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages: Option<u64> = pages.and_then(|line| line.split(' ').next()?.parse().ok());
    // SAFETY: asks for a constant.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    pages.unwrap_or(0) * page
}

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

fn set(resource: Resource, most: u64) {
    // SAFETY: reads and lowers a limit of this process through a struct of this stack frame.
    unsafe {
        let mut now: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(resource, &raw mut now);
        let most = most.min(now.rlim_max);
        // A parent with a larger stack is still on it.
        let hard = if resource == libc::RLIMIT_STACK { now.rlim_max } else { most };
        let limit = libc::rlimit { rlim_cur: most, rlim_max: hard };
        libc::setrlimit(resource, &raw const limit);
    }
}

fn alarm_after(which: libc::c_int, time: Duration) {
    let time = libc::timeval {
        tv_sec: time.as_secs() as libc::time_t,
        tv_usec: (time.subsec_micros() as libc::suseconds_t).max(1),
    };
    let timer = libc::itimerval { it_interval: libc::timeval { tv_sec: 1, tv_usec: 0 }, it_value: time };
    // SAFETY: reads a struct of this stack frame.
    unsafe { libc::syscall(libc::SYS_setitimer, which, &raw const timer, 0usize) };
}
