//! Measured sections of a Markdown document: what stands between `<!-- emu bench: NAME -->` and `<!-- end -->` is
//! replaced by what was measured, all else stays.

use crate::error::Error;

/// A measured part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name in the document.
    pub name: &'static str,
    /// Markdown.
    pub text: String,
}

const BEGIN: &str = "<!-- emu bench: ";
const NAMED: &str = " -->";
const END: &str = "<!-- end -->";

fn begin(name: &str) -> String {
    format!("{BEGIN}{name}{NAMED}")
}

/// The names of a document's sections, in their order.
///
/// # Errors
/// When it has none, or one does not end.
pub fn names(document: &str) -> Result<Vec<&str>, Error> {
    let mut names = Vec::new();
    let mut rest = document;
    while let Some((before, from)) = rest.split_once(BEGIN) {
        // Within a line it is told of, not used.
        if !before.is_empty() && !before.ends_with('\n') {
            rest = from;
            continue;
        }
        let ended = from.split_once(NAMED).and_then(|(name, body)| Some((name, body.split_once(END)?.1)));
        let Some((name, behind)) = ended else {
            let first = from.lines().next().unwrap_or_default();
            return Err(Error::Format(format!("expected {END} behind {BEGIN}{first}")));
        };
        names.push(name);
        rest = behind;
    }
    if names.is_empty() {
        return Err(Error::Format(format!("expected sections, each from {} to {END}", begin("NAME"))));
    }
    Ok(names)
}

/// The document with these sections in place of its own of the same names.
pub fn fill(document: &str, sections: &[Section]) -> String {
    let mut text = document.to_owned();
    for Section { name, text: body } in sections {
        let begin = begin(name);
        let Some((before, rest)) = text.split_once(&begin) else { continue };
        let Some((_, after)) = rest.split_once(END) else { continue };
        text = format!("{before}{begin}\n{}\n{END}{after}", body.trim_end());
    }
    text
}

/// A document of nothing but these sections.
pub fn skeleton(names: &[&str]) -> String {
    let sections: Vec<String> = names.iter().map(|name| format!("{}\n{END}\n", begin(name))).collect();
    format!("# Measured\n\n{}", sections.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_replaced_and_all_else_stays() {
        let document =
            "one\n<!-- emu bench: a -->\nold\n<!-- end -->\ntwo\n<!-- emu bench: b -->\n<!-- end -->\n";
        assert_eq!(names(document).unwrap(), ["a", "b"]);
        let section = |name, text: &str| Section { name, text: text.into() };
        let filled = fill(document, &[section("a", "new\n"), section("c", "lost")]);
        assert_eq!(filled, document.replace("old", "new"));
        assert_eq!(fill(&filled, &[section("a", "old")]), document);
    }

    #[test]
    fn a_document_without_sections_or_without_an_end_is_refused() {
        assert!(names("words").is_err() && names("as <!-- emu bench: a --> or <!-- end -->").is_err());
        assert!(names("<!-- emu bench: a -->\n").unwrap_err().to_string().contains("expected <!-- end -->"));
        assert_eq!(names(&skeleton(&["a", "b"])).unwrap(), ["a", "b"]);
    }
}
