use super::*;

/// A server that ends every watch after 100 ms, for so long.
fn opened_within(contact: &Contact, from: Instant, span: Duration) -> usize {
    let (mut now, mut count) = (from, 0);
    while now < from + span {
        now += contact.pause("/watched", now) + Duration::from_millis(100);
        count += 1;
    }
    count
}

#[test]
fn watches_that_end_at_once_are_opened_ever_less_often() {
    let (contact, start) = (Contact::default(), Instant::now());
    let minute = Duration::from_secs(60);
    let first = opened_within(&contact, start, minute);
    assert!((6..=15).contains(&first), "{first}");
    let later = opened_within(&contact, start + minute, minute);
    assert!(later <= 4, "{later}");
}

#[test]
fn watches_that_live_are_opened_again_at_once() {
    let (contact, mut now) = (Contact::default(), Instant::now());
    opened_within(&contact, now, Duration::from_secs(60));
    now += Duration::from_secs(120);
    for _ in 0..5 {
        assert_eq!(contact.pause("/watched", now), Duration::ZERO);
        now += LONG_LIVED;
    }
    assert_eq!(contact.pause("/other", now), Duration::ZERO, "each path counts for itself");
}

#[test]
fn one_early_end_costs_no_pause() {
    let (contact, now) = (Contact::default(), Instant::now());
    assert_eq!(contact.pause("/watched", now), Duration::ZERO);
    assert_eq!(contact.pause("/watched", now + Duration::from_millis(5)), Duration::ZERO);
    assert!(!contact.pause("/watched", now + Duration::from_millis(10)).is_zero());
}
