//! Tables of what a monitor tells, and properties over any order of readings, failures and pauses.

use proptest::prelude::*;

use super::*;
use crate::monitor::observation::Observed;

const MINUTE: Duration = Duration::from_secs(60);

fn rules() -> Rules {
    let zero = Duration::ZERO;
    Rules { hold: zero, settle: zero, no_data: NoData::Tell, misses: 2, calm: 20 * MINUTE }
}

fn answer(readings: &[(&str, Level)]) -> Observation {
    let readings = readings.iter().map(|(series, level)| Reading::new(*level, "w").of(*series)).collect();
    Ok(Observed { readings, ..Observed::default() })
}

/// A monitor that is observed each minute.
struct Watched {
    rules: Rules,
    state: State,
    now: Timestamp,
}

impl Watched {
    fn new(rules: Rules) -> Watched {
        Watched { rules, state: State::default(), now: Timestamp(1_000_000_000_000) }
    }

    fn see(&mut self, observation: &Observation) -> Vec<(String, Change)> {
        self.now = self.now.plus(MINUTE);
        // The state as the next bridge would read it.
        let state = serde_json::from_slice(&serde_json::to_vec(&self.state).unwrap()).unwrap();
        assert_eq!(state, self.state);
        let (state, transitions) = step(&self.rules, state, self.now, observation);
        self.state = state;
        transitions.into_iter().map(|transition| (transition.series, transition.change)).collect()
    }

    /// The changes of the monitor itself while its level is one letter after the other: good, between, wrong, nothing, failure.
    fn all(&mut self, levels: &str) -> String {
        let mut text = String::new();
        for letter in levels.chars() {
            let told = self.see(&match letter {
                'f' => Err("refused".into()),
                letter => answer(&[("", level(letter))]),
            });
            let told = told.iter().map(|(_, change)| match change {
                Change::To(Condition::Good) => 'g',
                Change::To(Condition::Wrong) => 'w',
                Change::To(Condition::NoData) => 'n',
                Change::Flaps => '~',
                Change::Steady(Condition::Good) => 'G',
                Change::Steady(_) => 'W',
                Change::Forgotten => '?',
                Change::Unobserved => 'u',
                Change::Observed => 'o',
            });
            let told: String = told.collect();
            text += if told.is_empty() { "." } else { &told };
        }
        text
    }
}

fn level(letter: char) -> Level {
    match letter {
        'g' => Level::Good,
        'b' => Level::Between,
        'w' => Level::Wrong,
        _ => Level::Nothing,
    }
}

#[test]
fn each_change_is_told_once() {
    let cases = [
        ("gggg", "...."),
        ("wwgg", "w.g."),
        ("gwbbg", ".w..g"),
        ("gbbw", "...w"),
        ("g-w-g", "..w.g"),
        ("g--g", "..ng"),
        ("w--w", "w.nw"),
        ("w----g", "w.n..g"),
        ("gffffg", "..u..o"),
        ("gfgf", "...."),
        ("wffg", "w.uog"),
        ("wffw", "w.uo"),
    ];
    for (levels, told) in cases {
        assert_eq!(Watched::new(rules()).all(levels), told, "{levels}");
    }
}

#[test]
fn a_condition_must_hold() {
    let held = Rules { hold: 2 * MINUTE, settle: 3 * MINUTE, ..rules() };
    let cases = [
        ("wwww", "..w."),
        ("wwgwww", ".....w"),
        ("wwwggwgggg", "..w......g"),
        // A time without observations counts for nothing.
        ("wwffwww", "...uo.w"),
    ];
    for (levels, told) in cases {
        assert_eq!(Watched::new(held.clone()).all(levels), told, "{levels}");
    }
}

#[test]
fn no_data_means_what_the_rules_say() {
    let with = |no_data| Watched::new(Rules { no_data, ..rules() });
    assert_eq!(with(NoData::Ok).all("g---w--g"), "....w.g.");
    assert_eq!(with(NoData::Fail).all("g--g"), "..wg");
}

#[test]
fn flapping_is_told_once_until_it_is_steady() {
    let mut watched = Watched::new(rules());
    assert_eq!(watched.all("wgwgwgwgwg"), "wgwgw~....");
    assert_eq!(watched.all(&"g".repeat(25)), format!("{}G{}", ".".repeat(19), ".".repeat(5)));
    assert_eq!(watched.all("w"), "w");
}

#[test]
fn an_outage_of_all_series_is_one_message_and_a_gone_series_is_forgotten() {
    let mut watched = Watched::new(rules());
    let (both, none) = (answer(&[("a", Level::Wrong), ("b", Level::Good)]), answer(&[]));
    assert_eq!(watched.see(&both), [("a".to_owned(), Change::To(Condition::Wrong))]);
    assert_eq!(watched.see(&none), []);
    assert_eq!(watched.see(&none), [(String::new(), Change::To(Condition::NoData))]);
    assert_eq!(watched.see(&both), [(String::new(), Change::To(Condition::Good))]);
    let one = answer(&[("b", Level::Good)]);
    assert_eq!(watched.see(&one), []);
    assert_eq!(watched.see(&one), [("a".to_owned(), Change::To(Condition::NoData))]);
    watched.now = watched.now.plus(FORGET);
    assert_eq!(watched.see(&one), [("a".to_owned(), Change::Forgotten)]);
    assert_eq!(watched.state.series.keys().collect::<Vec<_>>(), ["", "b"]);

    let mut watched = Watched::new(Rules { no_data: NoData::Ok, ..rules() });
    let told = [&both, &one, &one].map(|answer| watched.see(answer));
    assert_eq!(told[2], [("a".to_owned(), Change::To(Condition::Good))]);
    assert_eq!(watched.state.series.keys().collect::<Vec<_>>(), ["", "b"], "it is forgotten at once");
}

#[test]
fn many_changes_at_once_come_one_part_after_the_other() {
    let mut watched = Watched::new(rules());
    let names: Vec<String> = (0..120).map(|i| format!("s{i:03}")).collect();
    let all: Vec<(&str, Level)> = names.iter().map(|name| (name.as_str(), Level::Wrong)).collect();
    let counts: Vec<usize> = (0..4).map(|_| watched.see(&answer(&all)).len()).collect();
    assert_eq!(counts, [50, 50, 20, 0]);
}

fn letters() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(vec!['g', 'b', 'w', '-', 'f']), 0..80)
        .prop_map(|letters| letters.into_iter().collect())
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let no_data = proptest::sample::select(vec![NoData::Tell, NoData::Ok, NoData::Fail]);
    (0u32..4, 0u32..4, no_data, 1u32..4).prop_map(|(hold, settle, no_data, misses)| Rules {
        hold: hold * MINUTE,
        settle: settle * MINUTE,
        no_data,
        misses,
        calm: 20 * MINUTE,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_end_follows_a_beginning_and_no_change_is_told_twice(levels in letters(), rules in any_rules()) {
        let told = Watched::new(rules).all(&levels);
        let mut is_open = false;
        let mut last = 'g';
        for change in told.chars().filter(|change| !".uo".contains(*change)) {
            let is_end = "gG".contains(change);
            prop_assert!(is_open || !is_end, "an end without a beginning: {levels} {told}");
            prop_assert!(change != last, "twice: {levels} {told}");
            (is_open, last) = (!is_end, change);
        }
        let of_source: String = told.chars().filter(|change| "uo".contains(*change)).collect();
        prop_assert!(!of_source.contains("uu") && !of_source.contains("oo") && !of_source.starts_with('o'));
    }

    #[test]
    fn a_steady_end_is_told(levels in letters(), rules in any_rules(), is_wrong: bool) {
        let mut watched = Watched::new(rules);
        let mut told = watched.all(&levels);
        told += &watched.all(&if is_wrong { "w" } else { "g" }.repeat(30));
        let last = told.chars().rfind(|change| !".uo".contains(*change));
        match last {
            None => prop_assert!(!is_wrong, "{levels} {told}"),
            Some(last) => prop_assert_eq!("wW".contains(last), is_wrong, "{} {}", levels, told),
        }
        prop_assert!(watched.all("ww") == ".." || !is_wrong);
    }

    #[test]
    fn no_window_has_more_than_a_few_messages(levels in letters(), rules in any_rules()) {
        let mut watched = Watched::new(rules);
        let counts: Vec<usize> = levels
            .chars()
            .map(|letter| watched.all(&letter.to_string()).chars().filter(|c| !".uo".contains(*c)).count())
            .collect();
        for window in counts.windows(20) {
            prop_assert!(window.iter().sum::<usize>() <= CHANGES + 2, "{levels}: {counts:?}");
        }
    }

    #[test]
    fn wrong_is_told_only_after_it_has_held(levels in letters(), hold in 1u32..5) {
        let mut watched = Watched::new(Rules { hold: hold * MINUTE, ..rules() });
        let mut run = 0;
        for letter in levels.chars() {
            let told = watched.all(&letter.to_string());
            run = match letter { 'w' => run + 1, '-' if run > 0 => run + 1, _ => 0 };
            prop_assert!(!told.contains('w') || run > hold, "{levels}");
        }
    }
}
