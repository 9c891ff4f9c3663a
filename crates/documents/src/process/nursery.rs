//! The process that starts readers. It has one thread, holds nothing of its parent's, and knows
//! one thing to do.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{reader, wire};

/// Signals that a process group gets and that are meant for the parent: it says itself when it is
/// over, by closing the socket.
const PARENTS_SIGNALS: [libc::c_int; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGPIPE,
];

/// Serves until the other end of `control` is closed. Ends without running any of the parent's
/// handlers for exits.
pub fn run(control: OwnedFd, in_child: impl FnOnce()) -> ! {
    settle(control.as_raw_fd());
    in_child();
    // SAFETY: plain system calls; nothing of the parent's is run at the end.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"autovector docs".as_ptr());
        loop {
            match wire::receive(control.as_raw_fd()) {
                Ok(Some((request, stream))) => match libc::fork() {
                    0 => {
                        drop(control);
                        reader::run(stream, &request)
                    }
                    -1 => {
                        let tag = [wire::NO_PROCESS];
                        libc::write(stream.as_raw_fd(), tag.as_ptr().cast(), 1);
                    }
                    _ => {}
                },
                Ok(None) => libc::_exit(0),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => libc::_exit(1),
            }
        }
    }
}

/// Gives back the parent's files and signals.
fn settle(keep: RawFd) {
    // Messages of a reader that gives up would go to the server's log.
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        for standard in 0..3 {
            // SAFETY: both descriptors are open; the standard ones are replaced.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
    }
    close_all_but(keep);
    std::panic::set_hook(Box::new(|_| ()));
    // SAFETY: plain system calls over a set of this stack frame.
    unsafe {
        for signal in PARENTS_SIGNALS {
            libc::signal(signal, libc::SIG_IGN);
        }
        // Readers that end are nobody's to wait for.
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        // Memory is given by one arena: others reserve address space, which is what is limited.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

fn close_all_but(keep: RawFd) {
    let keep = keep as libc::c_uint;
    // SAFETY: closes descriptors that are this process's copies; nothing here uses them again.
    unsafe {
        if keep > 3 {
            libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, keep - 1, 0 as libc::c_uint);
        }
        libc::syscall(libc::SYS_close_range, keep + 1, libc::c_uint::MAX, 0 as libc::c_uint);
    }
}
