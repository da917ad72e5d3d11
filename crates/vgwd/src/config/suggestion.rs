//! "Did you mean …?" for keys that are not known.

/// A key longer than this is a mistake of another kind.
const LONGEST_SHOWN: usize = 64;

/// A key that begins another one, or the other way round, is that one cut short
/// or drawn out, if it is at least this long.
const SHORTEST_BEGINNING: usize = 5;

/// A key that is not known, as it is shown in a message.
pub(super) fn shown(key: &str) -> String {
    key.escape_debug().take(LONGEST_SHOWN).collect()
}

/// The known key that `key` was probably meant to be. Case and underscores do
/// not count, so that AWS's own `DPDTimeoutSeconds` finds `dpd_timeout_seconds`.
pub(super) fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    if key.len() > LONGEST_SHOWN {
        return None;
    }
    let wanted = squash(key);
    let allowed = (wanted.len() / 3).clamp(1, 3);
    let near = |candidate: &&'static str| {
        let letters = squash(candidate);
        let edits = distance(&wanted, &letters);
        let shorter = wanted.len().min(letters.len());
        let begins = wanted.starts_with(&letters) || letters.starts_with(&wanted);
        (edits <= allowed || (begins && shorter >= SHORTEST_BEGINNING))
            .then_some((edits, *candidate))
    };
    let candidates = known.iter().filter_map(near);
    let nearest = candidates.min_by_key(|(edits, _)| *edits);
    nearest.map(|(_, candidate)| candidate)
}

fn squash(key: &str) -> Vec<char> {
    let letters = key.chars().filter(|c| !matches!(c, '_' | '-'));
    letters.flat_map(char::to_lowercase).collect()
}

/// How many edits lead from one to the other: insertions, deletions,
/// replacements and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut row_before: Vec<usize> = Vec::new();
    let mut letter_before = None;
    for (i, from) in a.iter().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut left = i.saturating_add(1);
        next.push(left);
        let mut neighbour = None;
        for (j, to) in b.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX);
            let replaced = at(&row, j).saturating_add(usize::from(from != to));
            let deleted = at(&row, j.saturating_add(1)).saturating_add(1);
            left = replaced.min(deleted).min(left.saturating_add(1));
            if letter_before == Some(to) && neighbour == Some(from) {
                let swapped = at(&row_before, j.saturating_sub(1)).saturating_add(1);
                left = left.min(swapped);
            }
            next.push(left);
            neighbour = Some(to);
        }
        letter_before = Some(from);
        row_before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    fn between(a: &str, b: &str) -> usize {
        let letters = |s: &str| s.chars().collect::<Vec<_>>();
        distance(&letters(a), &letters(b))
    }

    #[test]
    fn distance_counts_single_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("vcp", "vpc", 1),
            ("abc", "cba", 2),
        ] {
            assert_eq!(between(a, b), edits, "{a} {b}");
            assert_eq!(between(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn a_misspelt_key_finds_the_known_one() {
        let known = ["dpd_timeout_seconds", "dpd_timeout_action", "identity"];
        assert_eq!(
            nearest("dpd_timeout_second", &known),
            Some("dpd_timeout_seconds")
        );
        assert_eq!(
            nearest("DPDTimeoutSeconds", &known),
            Some("dpd_timeout_seconds")
        );
        assert_eq!(nearest("identty", &known), Some("identity"));
        assert_eq!(
            nearest("dpd_timeout", &["dpd_timeout_seconds"]),
            Some("dpd_timeout_seconds")
        );
        assert_eq!(nearest("colour", &known), None);
    }
}
