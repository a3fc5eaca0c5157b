use super::*;
#[test]
fn ten_thousand() {
    use crate::price::Book; use crate::units::*;
    for deep in [1usize, 4, 8, 40] {
        let shapes: Vec<_> = (0..10_000usize).map(|i| {
            let above = if i % deep == 0 { None } else { Some(0usize) };
            (above, 2_000 + (i as u64 * 7919) % 50_000, 1 + (i as u64 * 31) % 40)
        }).collect();
        let w = super::forest_laws::forest("claude-haiku-5-5", &shapes, Need::By { slack: Span::from_secs(86_400) });
        let t = std::time::Instant::now();
        let plan = decide(&w, Book::embedded(), Timestamp::of_day("2026-11-22").unwrap()).unwrap();
        eprintln!("chain {deep}: {:?} {}", t.elapsed(), plan.route);
    }
    // A star under one root with random depth.
    let shapes: Vec<_> = (0..10_000usize).map(|i| (if i == 0 { None } else { Some((i * 7919) % i.clamp(1, 4)) }, 2_000 + (i as u64 * 7919) % 50_000, 1 + (i as u64 * 31) % 40)).collect();
    let w = super::forest_laws::forest("claude-haiku-5-5", &shapes, Need::By { slack: Span::from_secs(86_400) });
    let t = std::time::Instant::now();
    let plan = decide(&w, Book::embedded(), Timestamp::of_day("2026-11-22").unwrap()).unwrap();
    eprintln!("deep: {:?} {}", t.elapsed(), plan.route);
}
