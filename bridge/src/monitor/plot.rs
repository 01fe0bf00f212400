//! A plot of a few characters, for a terminal. Pure.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The widest plot, in characters.
const WIDTH: usize = 60;

/// The values from left to right, between their smallest and their largest; a space is no value. Of many values each character
/// has the largest of its part.
pub(super) fn plot(points: &[Option<f64>]) -> String {
    let finite = |value: &Option<f64>| value.filter(|value| value.is_finite());
    let points: Vec<Option<f64>> = points.iter().map(finite).collect();
    let part = points.len().div_ceil(WIDTH).max(1);
    let parts: Vec<Option<f64>> =
        points.chunks(part).map(|part| part.iter().flatten().copied().reduce(f64::max)).collect();
    let values = || parts.iter().flatten().copied();
    let (Some(least), Some(most)) = (values().reduce(f64::min), values().reduce(f64::max)) else {
        return String::new();
    };
    let bar = |value: &Option<f64>| value.map_or(' ', |value| BARS[height(value, least, most)]);
    parts.iter().map(bar).collect()
}

/// The height of a bar, from 0 to 7.
fn height(value: f64, least: f64, most: f64) -> usize {
    let part = if most > least { (value - least) / (most - least) } else { 0.0 };
    // From 0 to 7 whatever the values are.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let height = (part * 7.0).round() as usize;
    height.min(BARS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bars_and_gaps_are_spaces() {
        let some = |values: &[f64]| values.iter().map(|value| Some(*value)).collect::<Vec<_>>();
        assert_eq!(plot(&some(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])), "▁▂▃▄▅▆▇█");
        assert_eq!(plot(&[Some(1.0), None, Some(2.0), Some(f64::NAN)]), "▁ █ ");
        assert_eq!(plot(&some(&[5.0, 5.0])), "▁▁");
        assert_eq!((plot(&[]), plot(&[None])), (String::new(), String::new()));
        assert_eq!(plot(&[Some(1.0); 1000]).chars().count(), 59);
        assert_eq!(plot(&some(&[f64::MIN, 0.0, f64::MAX])).chars().count(), 3);
    }
}
