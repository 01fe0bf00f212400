//! Which lines are addressed to the bridge: by the sign before a command, by its name, or in private. Pure.

/// The command in a line, without the sign or the name that addresses it; `None` if the line is not for the bridge.
pub(crate) fn addressed(text: &str, trigger: &str, names: &[String], is_private: bool) -> Option<String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix(trigger).filter(|_| !trigger.is_empty()) {
        // `!!`, `! wow` and `!?` are exclamations.
        let is_command = rest.starts_with(|c: char| c.is_alphanumeric());
        return is_command.then(|| rest.to_owned());
    }
    if let Some(rest) = names.iter().find_map(|name| called(text, name)) {
        return Some(rest.to_owned());
    }
    (is_private && !text.is_empty()).then(|| text.to_owned())
}

/// The text after `name:`, `name,`, `@name` or `@name:`.
fn called<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (text, is_mention) = text.strip_prefix('@').map_or((text, false), |rest| (rest, true));
    let head = text.get(..name.len()).filter(|head| !name.is_empty() && head.eq_ignore_ascii_case(name))?;
    let rest = &text[head.len()..];
    match rest.chars().next() {
        Some(':' | ',') => Some(rest[1..].trim_start()),
        Some(c) if c.is_whitespace() && is_mention => Some(rest.trim_start()),
        None if is_mention => Some(""),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_for_us_by_sign_by_name_or_in_private() {
        let names = ["hal:example.com".to_owned(), "Hal".to_owned()];
        let hears = |text: &str, is_private| addressed(text, "!", &names, is_private);
        for (text, want) in [
            ("!deploy web", Some("deploy web")),
            ("  !deploy  ", Some("deploy")),
            ("hal: deploy", Some("deploy")),
            ("HAL, deploy", Some("deploy")),
            ("@hal deploy", Some("deploy")),
            ("@hal: deploy", Some("deploy")),
            ("@hal", Some("")),
            ("@hal:example.com deploy", Some("deploy")),
            ("@hal:example.com: deploy", Some("deploy")),
            ("hal deploy", None),
            ("halo: deploy", None),
            ("@halo deploy", None),
            ("!!", None),
            ("! wow", None),
            ("!", None),
            ("deploy!", None),
            ("", None),
            ("hé: x", None),
        ] {
            assert_eq!(hears(text, false).as_deref(), want, "{text:?}");
        }
        assert_eq!(hears("deploy web", true).as_deref(), Some("deploy web"));
        assert_eq!(hears("!deploy web", true).as_deref(), Some("deploy web"));
        assert_eq!(addressed("deploy", "", &names, false), None);
    }
}
