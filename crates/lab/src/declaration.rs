//! Checks the declaration of an experiment, and makes the form that `--list` prints.

use crate::{
    condition,
    experiment::Experiment,
    outcome::Outcome,
    results::{Declaration, Role, VariantDeclaration},
    run,
};

/// Checks that the declaration is consistent, so that a mistake in it does not become a verdict.
pub(crate) fn check(experiment: &Experiment) -> Result<(), String> {
    let Experiment { id, question, hypothesis, variants, claims, kit_claim, .. } = experiment;
    if id.len() != 2 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its name does not begin with two digits and an underscore".to_owned());
    }
    if question.is_empty() || hypothesis.is_empty() {
        return Err("it has no question or no hypothesis".to_owned());
    }
    let mut names: Vec<_> = variants.iter().map(|variant| &*variant.name).collect();
    names.sort_unstable();
    if let Some([twice, _]) = names.array_windows().find(|[one, other]| one == other) {
        return Err(format!("two variants are called `{twice}`"));
    }
    for variant in variants {
        let (name, is_hazard) = (&variant.name, variant.role == Role::Hazard);
        if name.contains('*') {
            return Err(format!("`{name}` is a pattern, and not the name of a variant"));
        }
        if is_hazard && variant.prediction == Outcome::Clean.into() {
            return Err(format!("the hazard `{name}` is predicted never to fail"));
        }
    }
    let has = |role| variants.iter().any(|variant| variant.role == role);
    if kit_claim.is_some() && !(has(Role::Cure) && has(Role::Hazard)) {
        return Err("it claims a cure, and has no cure, or no hazard beside it".to_owned());
    }
    if let Some(unknown) = experiment.shown_first.iter().find(|it| !names.contains(&it.as_str())) {
        return Err(format!("it shows `{unknown}` first, which is not one of its variants"));
    }
    for (observation, edges) in &experiment.kept {
        if !edges.is_sorted_by(|one, next| one < next) {
            return Err(format!("the edges of the buckets of `{observation}` do not rise"));
        }
    }
    let counting = variants.iter().filter(|variant| experiment.counts(variant.role));
    let counting: Vec<_> = counting.map(|variant| &*variant.name).collect();
    let of_claims = claims.iter().flat_map(|claim| {
        [&claim.supported, &claim.refuted].map(|it| (format!("claim {}", claim.id), it))
    });
    let of_hypothesis =
        experiment.holds_only_if.iter().map(|condition| ("the hypothesis".to_owned(), condition));
    for (statement, condition) in of_claims.chain(of_hypothesis) {
        let patterns = condition.patterns().iter().flat_map(|pattern| pattern.split('|'));
        for pattern in patterns {
            if !counting.iter().any(|name| condition::fits(pattern, name)) {
                return Err(format!("{statement} is about `{pattern}`, which fits no variant"));
            }
        }
    }
    Ok(())
}

/// Makes the declaration, with the variants for which trials are planned.
pub(crate) fn of(experiment: &Experiment, planned: &[u32]) -> Declaration {
    let variants = experiment.variants.iter().zip(planned).filter(|(_, trials)| **trials > 0);
    let kit = experiment.kit_claim.iter().map(|_| run::KIT);
    let claims = experiment.claims.iter().map(|claim| &*claim.id).chain(kit);
    Declaration {
        id: experiment.id.clone(),
        name: experiment.name.clone(),
        binary: experiment.binary.clone(),
        question: experiment.question.clone(),
        hypothesis: experiment.hypothesis.clone(),
        claims: claims.map(str::to_owned).collect(),
        on_demand: experiment.on_demand.clone(),
        variants: variants
            .map(|(variant, trials)| VariantDeclaration {
                name: variant.name.clone(),
                role: variant.role,
                about: variant.about.clone(),
                prediction: variant.prediction.to_string(),
                trials: *trials,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome::Aborted, control, every, hazard};

    fn declared() -> Experiment {
        Experiment::new("90_declared")
            .question("?")
            .hypothesis("!")
            .variants([hazard("it", Aborted, |_| Ok(())), control("beside/it", |_| Ok(()))])
    }

    #[test]
    fn a_declaration_that_makes_no_sense_is_refused() {
        assert_eq!(check(&declared().shows_first("it")), Ok(()));
        let on_it = || every("outside").is(Aborted);
        for (wrong, why) in [
            (Experiment::new("declared"), "two digits"),
            (Experiment::new("90_declared"), "no question"),
            (declared().variants([control("it", |_| Ok(()))]), "two variants are called `it`"),
            (declared().variants([control("*/it", |_| Ok(()))]), "`*/it` is a pattern"),
            (declared().variants([hazard("works", Outcome::Clean, |_| Ok(()))]), "never to fail"),
            (declared().kit_claim("it is cured"), "has no cure"),
            (declared().keeps("bytes", [2, 1]), "buckets of `bytes` do not rise"),
            (declared().shows_first("another"), "`another` first, which is not one"),
            (declared().holds_only_if(every("it|outside").is(Aborted)), "about `outside`"),
            (declared().holds_only_if(on_it()), "the hypothesis is about `outside`"),
            (declared().claim("Z1", "").supported_if(on_it()).refuted_if(!on_it()), "`outside`"),
        ] {
            let refused = check(&wrong).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
