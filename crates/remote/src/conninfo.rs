//! The two forms of libpq's connection strings, read into pairs of keyword and value. Mistakes
//! are named by the keyword at most: any value may be a password.

use crate::connection::{Error, Result};

/// One setting. `raw` is the value as it stood in the string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub name: String,
    pub value: String,
    pub raw: String,
}

fn pair(name: &str, value: String, raw: &str) -> Pair {
    Pair { name: name.to_owned(), value, raw: raw.to_owned() }
}

pub(crate) fn read(text: &str) -> Result<Vec<Pair>> {
    match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        Some(rest) => url(rest),
        None => keywords(text),
    }
}

/// `keyword = value …`; a value with blanks stands in single quotes, a backslash takes the next
/// character as it is.
fn keywords(text: &str) -> Result<Vec<Pair>> {
    const BROKEN: Error = Error::Invalid("it is no list of keyword=value, and no URL postgresql://…");
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let equals = rest.find('=').ok_or(BROKEN)?;
        let name = rest[..equals].trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(BROKEN);
        }
        rest = rest[equals + 1..].trim_start();
        let quoted = rest.starts_with('\'');
        let start = usize::from(quoted);
        let mut value = String::new();
        let mut end = None;
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(start) {
            match c {
                c if escaped => {
                    value.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '\'' if quoted => {
                    end = Some(at);
                    break;
                }
                c if !quoted && c.is_whitespace() => {
                    end = Some(at);
                    break;
                }
                c => value.push(c),
            }
        }
        if quoted && end.is_none() {
            return Err(Error::Invalid("a quoted value in it has no end"));
        }
        let end = end.unwrap_or(rest.len());
        pairs.push(pair(name, value, &rest[start..end]));
        rest = rest[(end + start).min(rest.len())..].trim_start();
    }
    Ok(pairs)
}

/// What follows `postgresql://`: `[user[:password]@][host[:port],…][/dbname][?keyword=value&…]`.
fn url(text: &str) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    let (before, options) =
        text.split_once('?').map_or((text, None), |(before, after)| (before, Some(after)));
    let (authority, database) = before.split_once('/').map_or((before, None), |(a, d)| (a, Some(d)));
    let hosts = match authority.rsplit_once('@') {
        Some((who, hosts)) => {
            let (user, password) = who.split_once(':').map_or((who, None), |(u, p)| (u, Some(p)));
            if !user.is_empty() {
                pairs.push(pair("user", decoded(user)?, user));
            }
            if let Some(password) = password {
                pairs.push(pair("password", decoded(password)?, password));
            }
            hosts
        }
        None => authority,
    };
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        let (name, port) = match host.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((address, after)) => (address, after.strip_prefix(':')),
            None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
        };
        names.push(decoded(name)?);
        ports.push(port.unwrap_or("5432").to_owned());
    }
    if !names.is_empty() {
        pairs.push(pair("host", names.join(","), ""));
        pairs.push(pair("port", ports.join(","), ""));
    }
    if let Some(database) = database.filter(|database| !database.is_empty()) {
        pairs.push(pair("dbname", decoded(database)?, database));
    }
    for option in options.unwrap_or_default().split('&').filter(|option| !option.is_empty()) {
        let (name, value) =
            option.split_once('=').ok_or(Error::Invalid("a parameter of its URL has no value"))?;
        pairs.push(pair(&decoded(name)?, decoded(value)?, value));
    }
    Ok(pairs)
}

/// Undoes `%XX`.
fn decoded(text: &str) -> Result<String> {
    const BROKEN: Error = Error::Invalid("its URL has a % that two hexadecimal digits do not follow");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16)).ok_or(BROKEN);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).map_err(|_| Error::Invalid("its URL is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        read(text)
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .into_iter()
            .map(|p| (p.name, p.value))
            .collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn keywords_are_read_as_libpq_reads_them() {
        assert_eq!(
            values(r" host = h  password='a \'b\' c' dbname=x\ y user='' port=1"),
            owned(&[("host", "h"), ("password", "a 'b' c"), ("dbname", "x y"), ("user", ""), ("port", "1")])
        );
        assert_eq!(values(""), owned(&[]));
        for broken in ["host", "host=h x", "=1", "password='x", "a b=1"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        assert_eq!(
            values("postgresql://me:p%40ss@a:1,[::1]:2,%2Frun/my%20db?sslmode=require&password=q"),
            owned(&[
                ("user", "me"),
                ("password", "p@ss"),
                ("host", "a,::1,/run"),
                ("port", "1,2,5432"),
                ("dbname", "my db"),
                ("sslmode", "require"),
                ("password", "q"),
            ])
        );
        assert_eq!(values("postgres://"), owned(&[]));
        for broken in ["postgresql://%zz", "postgresql://h?x", "postgresql://h/%ff"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }
}
