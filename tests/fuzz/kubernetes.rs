//! What a Kubernetes API answers: workloads, who scales them, nodes, pods, Velero's objects.

use super::{Input, tells};
use arbiter::fuzzing::kubernetes::{SORTS, millis, object, said, shortages, show};

/// An object is understood or refused without a word of it; no quantity makes a panic or a long
/// count.
pub fn target(bytes: &[u8]) {
    const SECRET: &str = "hunter2";
    let mut input = Input::new(bytes);
    let sort = usize::from(input.byte()) % (SORTS + 2);
    let read = if sort == SORTS {
        let (nodes, pods) = (input.line(), input.line());
        shortages(nodes, pods, input.rest()).map(|all| all.join("; "))
    } else if sort > SORTS {
        return quantity(&input.text());
    } else {
        let answer = input.rest();
        if let Some(said) = said(answer) {
            assert!(!said.is_empty() && !said.chars().any(char::is_control), "{said:?}");
        }
        object(sort, answer)
    };
    if let Err(why) = read {
        tells(&why);
        assert!(!why.contains(SECRET), "{why}");
    }
}

fn quantity(text: &str) {
    for line in text.lines() {
        if let Some(found) = millis(line) {
            tells(&show("memory", found));
            tells(&show("cpu", found));
        }
    }
}
