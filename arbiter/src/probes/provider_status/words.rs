//! What names a region in a text, and what says that an incident is over. Knows words; never a
//! page.

/// Words of a status that is over, or is none, in the pages of several providers.
const OVER: [&str; 6] =
    ["resolved", "completed", "postmortem", "operating normally", "available", "scheduled event"];

/// Any of several texts, each as whole words, whatever their case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// Of a list with commas between.
    pub(super) fn new(list: &str) -> Self {
        let words = list.split(',').map(|word| word.trim().to_lowercase());
        Self(words.filter(|word| !word.is_empty()).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `text` has one of them.
    pub(super) fn name(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.0.iter().any(|word| has_word(&text, word))
    }
}

/// `eu-west` is in "eu-west-1" and in "(EU-WEST)", and not in "neu-west".
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        ends(before) && ends(after)
    })
}

/// Whether `text`, a status or a title, says that it is over.
pub(super) fn over(text: &str) -> bool {
    let text = text.to_lowercase();
    OVER.iter().any(|word| has_word(&text, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        let words = Words::new("eu-west, Ireland,");
        for text in ["eu-west", "in EU-WEST-1", "(ireland)", "EC2 (Ireland)"] {
            assert!(words.name(text), "{text}");
        }
        for text in ["", "neu-west", "eu-western", "Irelands", "eu west"] {
            assert!(!words.name(text), "{text}");
        }
    }

    #[test]
    fn what_is_over_says_so() {
        for text in ["resolved", "[RESOLVED] Errors", "Service is operating normally: x"] {
            assert!(over(text), "{text}");
        }
        for text in ["investigating", "unresolved", "Service disruption: errors", "unavailable"] {
            assert!(!over(text), "{text}");
        }
    }
}
