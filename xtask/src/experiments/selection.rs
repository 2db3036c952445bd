//! Selects the experiments of a run.

use std::{cmp::Reverse, ops::RangeInclusive};

use lab::nearest;

use crate::{
    failure::{Failure, Result},
    flags::Shard,
    workspace::Source,
};

/// The experiments with these numbers, names or ranges of numbers, in the order of their numbers; without
/// names, all.
pub fn choose(sources: &[Source], names: &[String]) -> Result<Vec<Source>> {
    if names.is_empty() {
        return Ok(sources.to_vec());
    }
    let mut chosen = Vec::new();
    for name in names {
        let before = chosen.len();
        let range = range(name);
        let is_meant = |source: &&Source| match &range {
            Some(range) => source.id.parse().is_ok_and(|number: u8| range.contains(&number)),
            None => is_called(source, name),
        };
        chosen.extend(sources.iter().filter(is_meant).cloned());
        if chosen.len() == before {
            return Err(unknown(sources, name));
        }
    }
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

/// `34-36`.
fn range(name: &str) -> Option<RangeInclusive<u8>> {
    let (first, last) = name.split_once('-')?;
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

/// Whether this is a name of the experiment: `3`, `03`, `sleep-duration`, `03_sleep_duration`.
pub fn is_called(source: &Source, name: &str) -> bool {
    let name = name.replace(['_', ' '], "-");
    let by_number = name.parse::<u8>().is_ok_and(|number| format!("{number:02}") == source.id);
    by_number || spellings(source).contains(&name)
}

fn spellings(source: &Source) -> [String; 2] {
    [source.name(), source.binary.replace('_', "-")]
}

fn unknown(sources: &[Source], name: &str) -> Failure {
    const ALL: &str = "`cargo xtask experiments --list` shows them all";
    if name.trim().is_empty() {
        return Failure::Usage(format!("an empty name: is there a comma too many? {ALL}"));
    }
    if let Some(range) = range(name).filter(RangeInclusive::is_empty) {
        let (first, last) = range.into_inner();
        return Failure::Usage(format!(
            "`{name}` is a range from its end to its beginning: did you mean `{last:02}-{first:02}`? {ALL}"
        ));
    }
    let spellings: Vec<_> = sources.iter().map(|source| (spellings(source), source)).collect();
    let names = spellings.iter().flat_map(|(names, _)| names.iter().map(String::as_str));
    let nearest = nearest::of(name, names).and_then(|nearest| {
        spellings.iter().find(|(names, _)| names.iter().any(|it| it == nearest))
    });
    let guess = nearest.map_or_else(
        || ".".to_owned(),
        |(_, it)| format!(": did you mean `{}` ({})?", it.name(), it.id),
    );
    Failure::Usage(format!("there is no experiment `{name}`{guess} {ALL}"))
}

/// Returns the items of one shard, in their original order. The heaviest item goes to the lightest shard.
/// Only the weights decide, so all shards agree.
pub fn shard<T>(things: Vec<T>, shard: Shard, weight: impl Fn(&T) -> u64) -> Vec<T> {
    let mut heaviest_first: Vec<_> = things.iter().map(&weight).enumerate().collect();
    heaviest_first.sort_by_key(|&(place, weight)| (Reverse(weight), place));
    let mut loads = vec![0; shard.count];
    let mut mine = vec![false; things.len()];
    for (place, weight) in heaviest_first {
        let Some((least, load)) = loads.iter_mut().enumerate().min_by_key(|(_, load)| **load)
        else {
            continue;
        };
        // Distribute items without weight evenly too.
        *load += weight.max(1);
        if let Some(mine) = mine.get_mut(place) {
            *mine = least + 1 == shard.index;
        }
    }
    things.into_iter().zip(mine).filter_map(|(thing, mine)| mine.then_some(thing)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<Vec<String>> {
        let sources = ["01_drop_context", "03_sleep_duration", "11_cancelled_interact"]
            .map(|binary| Source::named(binary).unwrap());
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(choose(&sources, &names)?.into_iter().map(|source| source.id).collect())
    }

    fn refused(name: &str) -> String {
        let Err(Failure::Usage(message)) = chosen(&[name]) else { panic!("{name} was taken") };
        message
    }

    #[test]
    fn an_experiment_has_a_number_and_a_name() {
        for name in ["3", "03", "sleep-duration", "sleep_duration", "03_sleep_duration"] {
            assert_eq!(chosen(&[name]).unwrap(), ["03"], "{name}");
        }
        assert_eq!(chosen(&["11", "drop-context", "1"]).unwrap(), ["01", "11"]);
        assert_eq!(chosen(&[]).unwrap(), ["01", "03", "11"]);
    }

    #[test]
    fn a_range_of_numbers_is_every_experiment_in_it() {
        assert_eq!(chosen(&["2-11"]).unwrap(), ["03", "11"]);
        assert_eq!(chosen(&["01-01", "11"]).unwrap(), ["01", "11"]);
        assert!(refused("04-10").contains("no experiment `04-10`"));
        assert!(refused("11-3").contains("did you mean `03-11`?"));
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest_if_one_is_near() {
        let message = refused("slep-duration");
        assert!(message.contains("did you mean `sleep-duration` (03)?"), "{message}");
        for (name, words) in [
            ("99", "no experiment `99`. "),
            ("qqq", "no experiment `qqq`. "),
            ("", "a comma too many"),
        ] {
            let message = refused(name);
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
