//! Changes of an input that leave its JSON well-formed.
//!
//! libFuzzer changes bytes. Of what it makes of a long JSON document, nearly nothing is one any more, so that only the
//! parser would be tried.

use fastrand::Rng;
use serde_json::{Deserializer, Number, Value};

/// Changes `data[..size]` in place, and returns its new size, at most `max_size`. Every other time, bytes are changed as
/// libFuzzer does it without this. For [`libfuzzer_sys::fuzz_mutator`].
pub fn change_json(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Rng::with_seed(seed.into());
    let changed = random.bool().then(|| changed(data.get(..size)?, &mut random)).flatten();
    match changed {
        Some(new) if new.len() <= max_size => {
            data[..new.len()].copy_from_slice(&new);
            new.len()
        }
        _ => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
    }
}

/// Changes one of the JSON objects in the input. `None` if the input has no object.
fn changed(input: &[u8], random: &mut Rng) -> Option<Vec<u8>> {
    let mut objects = Vec::new();
    let mut at = 0;
    while let Some(next) = input[at..].iter().position(|byte| *byte == b'{') {
        let begin = at + next;
        let mut read = Deserializer::from_slice(&input[begin..]).into_iter::<Value>();
        at = match read.next() {
            Some(Ok(object)) => {
                let end = begin + read.byte_offset();
                objects.push((begin..end, object));
                end
            }
            _ => begin + 1,
        };
    }
    let (place, object) = random.choice(&mut objects)?;
    for _ in 0..random.usize(1..4) {
        change(object, random);
    }
    let object = serde_json::to_vec(object).ok()?;
    Some([&input[..place.start], &object, &input[place.end..]].concat())
}

/// Changes something inside a value.
fn change(value: &mut Value, random: &mut Rng) {
    let donor = pick(value, random).clone();
    match pick(value, random) {
        Value::Array(of) if !of.is_empty() && random.bool() => {
            let at = random.usize(..of.len());
            match random.bool() {
                true => drop(of.remove(at)),
                false => of.insert(at, of[at].clone()),
            }
        }
        Value::Object(of) if !of.is_empty() && random.u8(..4) == 0 => {
            let key = of.keys().nth(random.usize(..of.len())).cloned().unwrap_or_default();
            of.remove(&key);
        }
        // A document would grow with every change.
        other if random.u8(..4) == 0 && donor.to_string().len() < 1024 => *other = donor,
        Value::Number(number) => *number = self::number(number, random),
        Value::String(text) => *text = self::text(text, random),
        Value::Bool(is) => *is = !*is,
        other => *other = Value::Number(self::number(&0.into(), random)),
    }
}

/// A value inside of this one, or this one: each is as likely as any other.
fn pick<'a>(value: &'a mut Value, random: &mut Rng) -> &'a mut Value {
    let mut left = random.usize(..size(value));
    nth(value, &mut left).expect("there are so many")
}

/// How many values there are inside of this one, with itself.
fn size(value: &Value) -> usize {
    let inside: usize = match value {
        Value::Array(of) => of.iter().map(size).sum(),
        Value::Object(of) => of.values().map(size).sum(),
        _ => 0,
    };
    1 + inside
}

fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(of) => of.iter_mut().find_map(|it| nth(it, left)),
        Value::Object(of) => of.values_mut().find_map(|it| nth(it, left)),
        _ => None,
    }
}

/// A number at which something may be different, or one beside the old one.
fn number(old: &Number, random: &mut Rng) -> Number {
    let beside = |step| old.as_i64().and_then(|old| old.checked_add(step)).map(Number::from);
    let numbers = [
        beside(1),
        beside(-1),
        Some(0.into()),
        Some(1.into()),
        Some(u8::MAX.into()),
        Some(u16::MAX.into()),
        Some(i32::MAX.into()),
        Some(u32::MAX.into()),
        Some(i64::MIN.into()),
        Some(i64::MAX.into()),
        Some(u64::MAX.into()),
        Number::from_f64(0.5),
        Number::from_f64(f64::MIN_POSITIVE),
        Number::from_f64(f64::MAX),
        Number::from_f64(u64::MAX as f64),
    ];
    random.choice(numbers).flatten().unwrap_or_else(|| 0.into())
}

/// A text of unusual length or characters, or a part of the old one.
fn text(old: &str, random: &mut Rng) -> String {
    let at = random.usize(..=old.len());
    let at = (0..=at).rev().find(|at| old.is_char_boundary(*at)).unwrap_or(0);
    let (before, after) = old.split_at(at);
    match random.u8(..8) {
        0 => String::new(),
        1 => before.to_owned(),
        2 => after.to_owned(),
        3 => before.repeat(2) + after,
        4 => old.chars().rev().collect(),
        more => {
            let inserted =
                ["\n", "|", "\u{fc}", "\u{1f980}", "\u{301}", "\u{1b}[", "`", "\\", "%", " "];
            let inserted = inserted[random.usize(..inserted.len())];
            format!("{before}{}{after}", inserted.repeat(usize::from(more) * random.usize(..9)))
        }
    }
}
