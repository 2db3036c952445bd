//! Which experiments a run is about.

use lab::nearest;

use super::options::Shard;
use crate::{failure::Failure, workspace::Source};

/// Where the experiments are.
const FOLDER: &str = "experiments/src/bin";

/// Where one finds out what there is.
const ALL: &str = "`cargo xtask experiments --list` shows them all";

/// The experiments that are asked for, in the order of their numbers; all, if none is named.
pub fn choose(sources: &[Source], names: &[String]) -> Result<Vec<Source>, Failure> {
    if names.is_empty() {
        return Ok(sources.to_vec());
    }
    let mut chosen = Vec::new();
    for name in names {
        let found = sources.iter().find(|source| is_called(source, name));
        chosen.push(found.ok_or_else(|| unknown(sources, name))?.clone());
    }
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

/// Whether an experiment goes by this name: `3`, `03`, `sleep-duration`, `03_sleep_duration`, or
/// what falls between these.
pub fn is_called(source: &Source, name: &str) -> bool {
    let name = name.replace(['_', ' '], "-");
    let by_number = name.parse::<u8>().is_ok_and(|number| format!("{number:02}") == source.id);
    by_number || spellings(source).contains(&name)
}

fn spellings(source: &Source) -> [String; 2] {
    [source.name(), source.binary.replace('_', "-")]
}

fn unknown(sources: &[Source], name: &str) -> Failure {
    if sources.is_empty() {
        let message = format!("there is no experiment `{name}`, nor any other in {FOLDER}");
        return Failure::Usage(message);
    }
    if name.trim().is_empty() {
        let message = "an experiment without a name: is there a comma too many?";
        return Failure::Usage(format!("{message} {ALL}"));
    }
    let spellings: Vec<_> = sources.iter().map(|source| (spellings(source), source)).collect();
    let names = spellings.iter().flat_map(|(names, _)| names.iter().map(String::as_str));
    let nearest = nearest::of(name, names);
    let guess = nearest.and_then(|nearest| {
        let (_, it) = spellings.iter().find(|(names, _)| names.iter().any(|it| it == nearest))?;
        Some(format!(": did you mean `{}` ({})?", it.name(), it.id))
    });
    let guess = guess.unwrap_or_else(|| ".".to_owned());
    Failure::Usage(format!("there is no experiment `{name}`{guess} {ALL}"))
}

/// The share of things that falls to one shard, in the order in which they came. The heaviest
/// thing goes to the shard with the least so far; it depends on nothing but the weights.
pub fn shard<T>(things: Vec<T>, shard: Shard, weight: impl Fn(&T) -> u64) -> Vec<T> {
    let mut heaviest_first: Vec<_> = things.iter().map(&weight).enumerate().collect();
    heaviest_first.sort_by_key(|&(place, weight)| (std::cmp::Reverse(weight), place));
    let mut loads = vec![0; shard.count];
    let mut mine = vec![false; things.len()];
    for (place, weight) in heaviest_first {
        let least = loads.iter().enumerate().min_by_key(|&(_, load)| load).map_or(0, |(at, _)| at);
        // What weighs nothing takes its turn as well.
        loads.iter_mut().skip(least).take(1).for_each(|load| *load += weight.max(1));
        mine.iter_mut().skip(place).take(1).for_each(|mine| *mine = least + 1 == shard.index);
    }
    things.into_iter().zip(mine).filter_map(|(thing, mine)| mine.then_some(thing)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Vec<Source> {
        ["01_drop_context", "03_sleep_duration", "11_cancelled_interact"]
            .map(|binary| Source { id: binary[..2].to_owned(), binary: binary.to_owned() })
            .to_vec()
    }

    fn chosen(names: &[&str]) -> Result<Vec<String>, Failure> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(choose(&sources(), &names)?.into_iter().map(|source| source.id).collect())
    }

    #[test]
    fn an_experiment_goes_by_number_or_name() {
        for name in ["3", "03", "sleep-duration", "sleep_duration", "03_sleep_duration"] {
            assert_eq!(chosen(&[name]).unwrap(), ["03"], "{name}");
        }
        assert_eq!(chosen(&["11", "drop-context", "1"]).unwrap(), ["01", "11"]);
        assert_eq!(chosen(&[]).unwrap(), ["01", "03", "11"]);
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let Failure::Usage(message) = chosen(&["slep-duration"]).unwrap_err() else {
            panic!("not a mistake in usage");
        };
        assert!(message.contains("`sleep-duration` (03)"), "{message}");
    }

    #[test]
    fn nothing_is_suggested_that_nobody_meant() {
        for (name, words) in [
            ("99", "no experiment `99`. "),
            ("qqq", "no experiment `qqq`. "),
            ("", "a comma too many"),
        ] {
            let Failure::Usage(message) = chosen(&[name]).unwrap_err() else {
                panic!("not a mistake in usage");
            };
            assert!(message.contains(words) && !message.contains("did you mean"), "{message}");
        }
    }

    #[test]
    fn shards_are_balanced_and_leave_nothing_out() {
        let weights = vec![100, 20, 20, 20, 20, 20, 0, 0];
        let mut together = Vec::new();
        for index in 1..=2 {
            let share = shard(weights.clone(), Shard { index, count: 2 }, |weight| *weight);
            assert_eq!(share.iter().sum::<u64>(), 100);
            together.extend(share);
        }
        together.sort_unstable();
        assert_eq!(together, [0, 0, 20, 20, 20, 20, 20, 100]);
        let beyond = shard(vec![1], Shard { index: 2, count: 2 }, |weight| *weight);
        assert!(beyond.is_empty());
    }
}
