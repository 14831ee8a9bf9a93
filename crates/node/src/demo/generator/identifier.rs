//! OpenMRS IDs: a running number in base 30 with a check character, as OpenMRS's idgen module
//! makes them (its `LuhnMod30IdentifierValidator`).

/// No B, I, O, Q, S, Z: they are taken for digits.
const BASE: &[u8; 30] = b"0123456789ACDEFGHJKLMNPRTUVWXY";

/// The `number`-th OpenMRS ID, with its check character.
pub(super) fn openmrs_id(number: u64) -> String {
    let mut digits = Vec::new();
    let mut rest = 30_u64.pow(5) + number;
    while rest > 0 {
        digits.push(BASE[(rest % 30) as usize]);
        rest /= 30;
    }
    digits.reverse();
    let mut id = String::from_utf8_lossy(&digits).into_owned();
    id.extend(check_character(&id));
    id
}

/// The Luhn check character modulo 30 of what stands before it; `None` for a foreign character.
fn check_character(body: &str) -> Option<char> {
    let mut sum = 0;
    for (index, byte) in body.bytes().rev().enumerate() {
        let digit = BASE.iter().position(|base| *base == byte)?;
        let addend = if index % 2 == 0 { digit * 2 } else { digit };
        sum += addend / 30 + addend % 30;
    }
    Some(char::from(BASE[(30 - sum % 30) % 30]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_characters_are_those_of_published_openmrs_ids() {
        for id in ["100GEJ", "100HNY", "100008E", "10001V", "10005K", "1000Y", "1000NK1"] {
            let (body, check) = id.split_at(id.len() - 1);
            assert_eq!(check_character(body), check.chars().next(), "{id}");
        }
        assert_eq!(check_character("10B"), None);
    }

    #[test]
    fn ids_count_up_and_never_repeat() {
        let ids: std::collections::BTreeSet<_> = (0..5_000).map(openmrs_id).collect();
        assert_eq!(ids.len(), 5_000);
        assert!(openmrs_id(0).starts_with("100000"));
    }
}
