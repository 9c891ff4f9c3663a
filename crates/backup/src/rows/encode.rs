//! Text of values, as their types write it under the settings of a backup (ISO dates, UTC, hex),
//! into what the types' receive functions take. Sources: the `…send` and `…recv` functions in
//! PostgreSQL's `src/backend/utils/adt` and in pgvector's `vector.c`.

/// The types whose text is understood here. A table that has others is loaded as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Text of any kind, JSON: their binary form is their text.
    Text,
    Jsonb,
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Uuid,
    Bytea,
    Timestamp,
    Timestamptz,
    Vector,
}

impl Type {
    /// By the name of the type, of PostgreSQL's own or of pgvector's.
    pub fn of(name: &str) -> Option<Type> {
        Some(match name {
            "text" | "varchar" | "bpchar" | "name" | "json" => Type::Text,
            "jsonb" => Type::Jsonb,
            "bool" => Type::Bool,
            "int2" => Type::Int2,
            "int4" => Type::Int4,
            "int8" => Type::Int8,
            "float4" => Type::Float4,
            "float8" => Type::Float8,
            "uuid" => Type::Uuid,
            "bytea" => Type::Bytea,
            "timestamp" => Type::Timestamp,
            "timestamptz" => Type::Timestamptz,
            "vector" => Type::Vector,
            _ => return None,
        })
    }

    /// Appends the value to `out`; None where the text is none of this type's.
    pub(super) fn encode(self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            Type::Text => out.extend_from_slice(text),
            Type::Jsonb => {
                // The version of the format.
                out.push(1);
                out.extend_from_slice(text);
            }
            Type::Bool => out.push(match text {
                b"t" => 1,
                b"f" => 0,
                _ => return None,
            }),
            Type::Int2 => out.extend(parsed::<i16>(text)?.to_be_bytes()),
            Type::Int4 => out.extend(parsed::<i32>(text)?.to_be_bytes()),
            Type::Int8 => out.extend(parsed::<i64>(text)?.to_be_bytes()),
            Type::Float4 => out.extend(parsed::<f32>(text)?.to_be_bytes()),
            Type::Float8 => out.extend(parsed::<f64>(text)?.to_be_bytes()),
            Type::Uuid => return uuid(text, out),
            Type::Bytea => return hex(text.strip_prefix(b"\\x")?, out),
            Type::Timestamp => out.extend(timestamp(text)?.to_be_bytes()),
            Type::Timestamptz => out.extend(timestamptz(text)?.to_be_bytes()),
            Type::Vector => return vector(text, out),
        }
        Some(())
    }
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn hex(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_chunks::<2>();
    for [high, low] in pairs {
        out.push(digit(*high)? << 4 | digit(*low)?);
    }
    rest.is_empty().then_some(())
}

fn uuid(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let groups = text.split(|byte| *byte == b'-');
    let sizes = [8, 4, 4, 4, 12];
    let mut count = 0;
    for group in groups {
        if sizes.get(count) != Some(&group.len()) {
            return None;
        }
        hex(group, out)?;
        count += 1;
    }
    (count == sizes.len()).then_some(())
}

/// `[1,0.5]` as the number of dimensions and a zero (`int2` each), then as many `float4`.
fn vector(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let numbers = std::str::from_utf8(text.strip_prefix(b"[")?.strip_suffix(b"]")?).ok()?;
    let at = out.len();
    out.extend([0; 4]);
    let mut count = 0_u16;
    for number in numbers.split_terminator(',') {
        out.extend_from_slice(&number.parse::<f32>().ok()?.to_be_bytes());
        count = count.checked_add(1)?;
    }
    out[at..at + 2].copy_from_slice(&count.to_be_bytes());
    Some(())
}

const MICROSECONDS: i64 = 1_000_000;
/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
const EPOCH: i64 = 10_957;

fn infinite(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => Some(i64::MAX),
        b"-infinity" => Some(i64::MIN),
        _ => None,
    }
}

/// Microseconds since 2000-01-01 of `2026-01-31 12:30:59.25`, with ` BC` behind it before the year 1.
fn timestamp(text: &[u8]) -> Option<i64> {
    if let Some(end) = infinite(text) {
        return Some(end);
    }
    let text = std::str::from_utf8(text).ok()?;
    let (text, before_christ) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
    let (date, time) = text.split_once(' ')?;
    let mut date = date.splitn(3, '-');
    let mut number = || date.next().and_then(digits);
    let (year, month, day) = (number()?, number()?, number()?);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':');
    let mut number = || time.next().and_then(digits);
    let (hours, minutes, seconds) = (number()?, number()?, number()?);
    let possible = (1..=12).contains(&month) && (1..=31).contains(&day) && (1..=6).contains(&fraction.len());
    if !possible || hours > 24 || minutes > 59 || seconds > 60 {
        return None;
    }
    let fraction = digits(fraction)? * 10_i64.pow(6 - fraction.len() as u32);
    // The year before 1 is 1 BC.
    let days = days(if before_christ { 1 - year } else { year }, month, day) - EPOCH;
    let seconds = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    seconds.checked_mul(MICROSECONDS)?.checked_add(fraction)
}

/// The same with an offset behind the time: `+00`, `-03:30`, `+01:02:03`.
fn timestamptz(text: &[u8]) -> Option<i64> {
    if let Some(end) = infinite(text) {
        return Some(end);
    }
    let text = std::str::from_utf8(text).ok()?;
    let (text, era) = text.strip_suffix(" BC").map_or((text, ""), |text| (text, " BC"));
    let at = text.rfind(['+', '-'])?;
    let (local, offset) = text.split_at(at);
    let (sign, offset) = offset.split_at(1);
    let mut seconds = 0;
    for (part, unit) in offset.splitn(3, ':').zip([3600, 60, 1]) {
        seconds += digits(part)? * unit;
    }
    let local = timestamp(format!("{local}{era}").as_bytes())?;
    let offset = seconds * MICROSECONDS;
    if sign == "+" { local.checked_sub(offset) } else { local.checked_add(offset) }
}

fn digits(text: &str) -> Option<i64> {
    let plain = (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Source: Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(r#type: Type, text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        r#type.encode(text.as_bytes(), &mut out).map(|()| out)
    }

    fn micros(r#type: Type, text: &str) -> Option<i64> {
        encoded(r#type, text).map(|bytes| i64::from_be_bytes(bytes.try_into().unwrap()))
    }

    /// The numbers are from `extract(epoch from …) - extract(epoch from '2000-01-01')` in psql.
    #[test]
    fn times_are_counted_from_the_year_2000() {
        for (text, expected) in [
            ("2000-01-01 00:00:00", 0),
            ("2000-02-29 00:00:01.5", 5_097_601_500_000),
            ("1999-12-31 23:59:59.999999", -1),
            ("2026-11-22 04:26:57.1", 848_636_817_100_000),
            ("0001-01-01 00:00:00", -63_082_281_600_000_000),
            ("0001-12-31 00:00:00 BC", -63_082_368_000_000_000),
            ("4713-01-01 00:00:00 BC", -211_810_204_800_000_000),
            ("294276-12-31 23:59:59.999999", 9_223_371_331_199_999_999),
            ("infinity", i64::MAX),
            ("-infinity", i64::MIN),
        ] {
            assert_eq!(micros(Type::Timestamp, text), Some(expected), "{text}");
        }
        for (text, expected) in [
            ("2000-01-01 00:00:00+00", 0),
            ("2000-01-01 01:00:00.25+01", 250_000),
            ("1999-12-31 20:30:00-03:30", 0),
            ("0001-12-31 00:00:00+00 BC", -63_082_368_000_000_000),
            ("-infinity", i64::MIN),
        ] {
            assert_eq!(micros(Type::Timestamptz, text), Some(expected), "{text}");
        }
        for text in ["", "2000-01-01", "2000-13-01 00:00:00", "2000-01-01 00:00", "01/02/2000 00:00:00"] {
            assert_eq!(micros(Type::Timestamp, text), None, "{text}");
        }
        assert_eq!(micros(Type::Timestamptz, "2000-01-01 00:00:00 CET"), None);
    }

    #[test]
    fn values_are_encoded_as_their_types_receive_them() {
        for (r#type, text, expected) in [
            (Type::Text, "ä", "ä".as_bytes()),
            (Type::Jsonb, "{}", b"\x01{}"),
            (Type::Bool, "t", &[1]),
            (Type::Int2, "-2", &[255, 254]),
            (Type::Int4, "1", &[0, 0, 0, 1]),
            (Type::Int8, "-1", &[255; 8]),
            (Type::Float4, "1e+20", &0x60ad78ec_u32.to_be_bytes()),
            (Type::Float4, "-Infinity", &0xff800000_u32.to_be_bytes()),
            (Type::Float8, "NaN", &0x7ff8000000000000_u64.to_be_bytes()),
            (Type::Bytea, "\\x00fF", &[0, 255]),
            (Type::Vector, "[1,-2]", &[0, 2, 0, 0, 0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]),
        ] {
            assert_eq!(encoded(r#type, text).as_deref(), Some(expected), "{text}");
        }
        let uuid = encoded(Type::Uuid, "00112233-4455-6677-8899-aabbccddeeff").unwrap();
        assert_eq!(uuid, (0..16).map(|n| n * 17).collect::<Vec<u8>>());
        for (r#type, text) in [
            (Type::Bool, "true"),
            (Type::Int4, "1.0"),
            (Type::Uuid, "0011223344556677-8899-aabbccddeeff"),
            (Type::Bytea, "\\x0"),
            (Type::Bytea, "ab"),
            (Type::Vector, "[1,,2]"),
            (Type::Vector, "1,2"),
        ] {
            assert_eq!(encoded(r#type, text), None, "{text}");
        }
    }
}
