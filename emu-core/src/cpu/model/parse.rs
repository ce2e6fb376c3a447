//! `MODEL[,+feature,-feature]` as the command line has it.

use std::fmt;

use super::feature::{ENTRIES, Feature, Features};
use super::{MODELS, Model};

/// What is wrong with the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelError {
    /// There is no such model; these have similar names.
    NoModel(String, Vec<&'static str>),
    /// There is no such feature; these have similar names.
    NoFeature(String, Vec<&'static str>),
    /// Neither `+feature` nor `-feature`.
    NoSign(String),
    /// The feature was asked for, and the other, which it needs, is absent.
    Needs(Feature, Feature),
    /// No processor of ours comes without it.
    Always(Feature),
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, near: &[&str]| match near {
            [] => f.write_str("; --cpu help lists them"),
            near => write!(f, "; close are {} (--cpu help lists all)", near.join(", ")),
        };
        match self {
            Self::NoModel(name, near) => {
                write!(f, "there is no model {name:?}")?;
                list(f, near)
            }
            Self::NoFeature(name, near) => {
                write!(f, "there is no feature {name:?}")?;
                list(f, near)
            }
            Self::NoSign(text) => {
                write!(f, "{text:?}: expected +FEATURE or -FEATURE (--cpu help lists them)")
            }
            Self::Needs(feature, need) => write!(f, "+{feature} needs {need}, which the processor lacks"),
            Self::Always(feature) => write!(f, "-{feature}: all models have it"),
        }
    }
}

impl std::error::Error for ModelError {}

/// Reads `MODEL[,+feature,-feature]`. Also returns the features that had to go because they need one that was taken
/// away, each with what it lacks.
///
/// # Errors
/// When a name is not known, or an added feature lacks something that it needs.
pub fn parse(text: &str) -> Result<(Model, Vec<(Feature, Feature)>), ModelError> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    let Some(model) = MODELS.iter().find(|model| model.name.eq_ignore_ascii_case(name)) else {
        return Err(ModelError::NoModel(name.to_owned(), near(name, MODELS.iter().map(|model| model.name))));
    };
    let (mut features, mut added) = (model.features, Features::NONE);
    for part in parts {
        let (name, on) = sign(part).ok_or_else(|| ModelError::NoSign(part.to_owned()))?;
        let name = name.to_ascii_lowercase();
        let feature = Feature::named(&name).ok_or_else(|| {
            ModelError::NoFeature(name.clone(), near(&name, ENTRIES.iter().map(|entry| entry.name)))
        })?;
        if !on && feature == Feature::Fpu {
            return Err(ModelError::Always(feature));
        }
        let change = if on { Features::with } else { Features::without };
        (features, added) = (change(features, &[feature]), change(added, &[feature]));
    }
    let dropped = features.drop_unsupported();
    if let Some(&(feature, need)) = dropped.iter().find(|(feature, _)| added.has(*feature)) {
        return Err(ModelError::Needs(feature, need));
    }
    Ok((model.with_features(features), dropped))
}

/// `+name`, `-name`, and `name=on`, `name=off` as QEMU also takes it.
fn sign(part: &str) -> Option<(&str, bool)> {
    if let Some(name) = part.strip_prefix('+') {
        return Some((name, true));
    }
    if let Some(name) = part.strip_prefix('-') {
        return Some((name, false));
    }
    match part.split_once('=')? {
        (name, "on") => Some((name, true)),
        (name, "off") => Some((name, false)),
        _ => None,
    }
}

/// The names that are at most two letters away, or contain the text.
fn near(text: &str, names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let text = text.to_ascii_lowercase();
    let most = 2.min(text.len() / 2);
    let close = |name: &&str| text.len() >= 2 && name.contains(&text) || distance(&text, name) <= most;
    names.filter(close).take(6).collect()
}

/// Letters to insert, delete or exchange between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let next = (corner + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_come_and_go() {
        let (model, dropped) = parse("pentium,+cmov,-mmx").unwrap();
        assert!(model.has(Feature::Cmov) && !model.has(Feature::Mmx));
        assert_eq!(dropped, []);
        let (model, dropped) = parse("pentium3,-fxsr").unwrap();
        assert!(!model.has(Feature::Sse));
        assert_eq!(dropped, [(Feature::Sse, Feature::Fxsr)]);
        assert!(parse("core2,sse4_1=on").unwrap().0.has(Feature::Sse41));
    }

    #[test]
    fn a_leaf_appears_with_the_feature_that_it_reports() {
        let (model, _) = parse("486,+smep").unwrap();
        assert_eq!((model.max_leaf, model.max_extended), (7, 0));
        assert_eq!(parse("pentium3,+nx").unwrap().0.max_extended, 0x8000_0001);
    }

    #[test]
    fn mistakes_are_explained_in_a_line() {
        for (text, expected) in [
            ("pentiun", "there is no model \"pentiun\"; close are pentium, pentium3 (--cpu help lists all)"),
            ("", "there is no model \"\"; --cpu help lists them"),
            (
                "max,+sse5",
                "there is no feature \"sse5\"; close are pse, sep, sse, sse2, sse3, ssse3 (--cpu help lists all)",
            ),
            ("max,sse", "\"sse\": expected +FEATURE or -FEATURE (--cpu help lists them)"),
            ("486,+sse", "+sse needs fxsr, which the processor lacks"),
            ("486,-fpu", "-fpu: all models have it"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }
}
