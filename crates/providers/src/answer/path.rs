//! Follows a path through an answer to its vectors. The answer stays text; only what lies on the
//! path is looked at, piece by piece.

use std::fmt;

use autovector_domain::{config::Step, failure::Failure};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Text, Vectors};

type Json<'de, 'r> = &'r mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>;

/// Takes every vector that the path leads to; yields the number of tokens, 0 where it is not said.
pub(super) fn read<'de>(
    vectors: &mut Vectors<'_>,
    json: Json<'de, '_>,
    at: &[Step],
    tokens: &[Step],
) -> Result<u64, serde_json::Error> {
    let whole: &RawValue = serde::Deserialize::deserialize(json)?;
    let mut taken = |raw: &RawValue| take(vectors, raw);
    if let Err(failure) = follow(whole, at, &mut taken) {
        vectors.fault =
            Some(failure.unwrap_or_else(|| {
                vectors.malformed("an answer that holds no vectors where they are expected")
            }));
        return Err(serde_json::Error::custom("stopped"));
    }
    let mut count = 0;
    if !tokens.is_empty() {
        // What is not there is not counted.
        follow(whole, tokens, &mut |raw| {
            count = raw.get().parse::<f64>().map_or(0, |tokens| tokens as u64);
            Ok(())
        })
        .ok();
    }
    Ok(count)
}

/// A vector, or a list of vectors.
fn take(vectors: &mut Vectors<'_>, raw: &RawValue) -> Result<(), Option<Failure>> {
    let inner = raw.get().strip_prefix('[').map(|rest| rest.trim_start().as_bytes());
    let is_list = matches!(inner, Some([b'[' | b'"', ..]));
    if !is_list {
        return vectors.take(None, raw).map_err(Some);
    }
    each(raw, &mut |element| vectors.take(None, element).map_err(Some))
}

/// What stopped it: a failure, or None where the path leads nowhere.
type Followed = Result<(), Option<Failure>>;

fn follow(raw: &RawValue, steps: &[Step], sink: &mut dyn FnMut(&RawValue) -> Followed) -> Followed {
    let Some((step, rest)) = steps.split_first() else { return sink(raw) };
    match step {
        Step::Member(name) => {
            let mut json = serde_json::Deserializer::from_str(raw.get());
            let found = Member(name).deserialize(&mut json).ok().flatten();
            follow(found.ok_or(None)?, rest, sink)
        }
        Step::Each => each(raw, &mut |element| follow(element, rest, sink)),
        Step::Item(wanted) => {
            let mut number = 0;
            let mut found = false;
            each(raw, &mut |element| {
                number += 1;
                if number - 1 == *wanted {
                    found = true;
                    return follow(element, rest, sink);
                }
                Ok(())
            })?;
            if found { Ok(()) } else { Err(None) }
        }
    }
}

fn each(raw: &RawValue, sink: &mut dyn FnMut(&RawValue) -> Followed) -> Followed {
    let mut json = serde_json::Deserializer::from_str(raw.get());
    let mut stopped = Ok(());
    match json.deserialize_seq(Elements { sink, stopped: &mut stopped }) {
        Ok(()) => Ok(()),
        Err(_) => stopped.and(Err(None)),
    }
}

struct Elements<'s> {
    sink: &'s mut dyn FnMut(&RawValue) -> Followed,
    stopped: &'s mut Followed,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while let Some(element) = list.next_element::<&RawValue>()? {
            if let Err(stop) = (self.sink)(element) {
                *self.stopped = Err(stop);
                return Err(S::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// The value of one member of an object; of several of the name the last.
struct Member<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Text>()? {
            if key.0 == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
