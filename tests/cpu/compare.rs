//! The comparison code itself: what it must accept and, above all, reject.

use tril::reference::compare::{Mismatch, Tolerance, canary, compare, compare_f64};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

/// Wide enough to accept any finite value, so that only the special values can fail.
const WIDE: Tolerance = Tolerance { abs: 1e300, rel: 1e-3 };

/// Allows any finite deviation, but that must not make everything pass.
const BOUNDLESS: Tolerance = Tolerance { abs: INF, rel: INF };

fn check(got: &[f64], want: &[f64], tolerance: Tolerance, passes: bool) {
    let narrow: Vec<f32> = got.iter().map(|&x| x as f32).collect();
    let in_f64 = compare_f64(got, want, tolerance);
    let in_f32 = compare(&narrow, want, tolerance);
    assert_eq!(in_f64.is_ok(), passes, "f64 {got:?} for {want:?}: {in_f64:?}");
    assert_eq!(in_f32.is_ok(), passes, "f32 {got:?} for {want:?}: {in_f32:?}");
}

#[test]
fn special_values() {
    for tolerance in [Tolerance::exact(), WIDE, BOUNDLESS, Tolerance::sum(100, 1.0)] {
        check(&[NAN], &[NAN], tolerance, false);
        check(&[NAN], &[1.0], tolerance, false);
        check(&[1.0], &[NAN], tolerance, false);
        check(&[NAN], &[INF], tolerance, false);
        check(&[INF], &[NAN], tolerance, false);
        check(&[INF], &[1.0], tolerance, false);
        check(&[1.0], &[INF], tolerance, false);
        check(&[INF], &[-INF], tolerance, false);
        check(&[-INF], &[INF], tolerance, false);
        check(&[INF], &[INF], tolerance, true);
        check(&[-INF], &[-INF], tolerance, true);
        check(&[], &[], tolerance, false);
        check(&[1.0], &[], tolerance, false);
        check(&[], &[1.0], tolerance, false);
        check(&[1.0, 1.0], &[1.0], tolerance, false);
    }
}

#[test]
fn zeros_of_either_sign_are_equal() {
    check(&[0.0], &[-0.0], Tolerance::exact(), true);
    check(&[-0.0], &[0.0], Tolerance::exact(), true);
}

#[test]
fn a_tolerance_without_a_limit_accepts_nothing() {
    check(&[1.0], &[1.0], BOUNDLESS, false);
    check(&[0.0], &[0.0], BOUNDLESS, false);
    for tolerance in [Tolerance { abs: NAN, rel: 0.0 }, Tolerance { abs: 0.0, rel: NAN }] {
        check(&[1.0], &[1.0], tolerance, false);
    }
}

#[test]
fn an_error_at_any_position_is_found() {
    let want = [1.0, 2.0, 3.0, 4.0];
    for index in 0..want.len() {
        for fault in [NAN, INF, -INF, 0.0, 9.0] {
            let mut got = want;
            got[index] = fault;
            match compare_f64(&got, &want, Tolerance::ulps(4.0)) {
                Err(Mismatch::Value { index: found, .. }) => assert_eq!(found, index),
                other => panic!("{fault} at {index}: {other:?}"),
            }
        }
    }
}

#[test]
fn both_sides_of_the_limit() {
    let tolerance = Tolerance { abs: 0.5, rel: 0.25 };
    check(&[10.0 + 3.0], &[10.0], tolerance, true);
    check(&[10.0 + 3.125], &[10.0], tolerance, false);
    check(&[10.0 - 3.0], &[10.0], tolerance, true);
    check(&[10.0 - 3.125], &[10.0], tolerance, false);
    check(&[-10.0 - 3.0], &[-10.0], tolerance, true);
    check(&[-10.0 - 3.125], &[-10.0], tolerance, false);
    check(&[0.5], &[0.0], tolerance, true);
    check(&[0.625], &[0.0], tolerance, false);
    check(&[1.0], &[1.0 + f64::EPSILON], Tolerance::exact(), false);
}

#[test]
fn overflow_in_f32_is_a_mismatch() {
    assert!(compare(&[f32::INFINITY], &[1e39], WIDE).is_err());
}

#[test]
fn statistics() {
    let tolerance = Tolerance { abs: 1.0, rel: 0.0 };
    let stats = compare_f64(&[1.5, -4.0, 0.25, INF], &[1.0, -4.0, 0.0, INF], tolerance).unwrap();
    assert_eq!(stats.n_elem, 4);
    assert_eq!(stats.max_abs, 0.5);
    assert_eq!(stats.max_rel, 0.5);
    assert_eq!(stats.max_used, 0.5);
    assert_eq!(stats.nmse, (0.25 + 0.0625) / 17.0);
}

#[test]
fn the_message_names_index_values_and_allowance() {
    let tolerance = Tolerance { abs: 0.5, rel: 0.0 };
    let mismatch = compare(&[1.0, 4.0], &[1.0, 2.0], tolerance).unwrap_err();
    assert_eq!(mismatch.to_string(), "element 1 is 4e0, expected 2e0, allowed 5e-1");
    let mismatch = compare(&[1.0], &[1.0, 2.0], tolerance).unwrap_err();
    assert_eq!(mismatch.to_string(), "1 elements where 2 were expected");
    let mismatch = compare(&[], &[], tolerance).unwrap_err();
    assert_eq!(mismatch.to_string(), "nothing to compare: both sides are empty");
}

/// Sums in plain f32 order, the worst order there is, must stay inside; a wrong term must not.
#[test]
fn the_error_model_of_a_sum_fits_real_sums() {
    // A linear congruential generator (the constants of Numerical Recipes) is random enough for signs and sizes.
    let mut state = 1_u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / 4_294_967_296.0
    };
    for n_terms in [1, 2, 7, 64, 1000, 20_000] {
        for offset in [-0.5, 0.0] {
            for _ in 0..50 {
                let mut narrow = 0.0_f32;
                let mut wide = 0.0_f64;
                let mut squares = 0.0;
                for _ in 0..n_terms {
                    let (a, b) = ((uniform() + offset) as f32, (uniform() + offset) as f32);
                    narrow += a * b;
                    wide += f64::from(a) * f64::from(b);
                    squares += (f64::from(a) * f64::from(b)).powi(2);
                }
                let magnitude = (squares / n_terms as f64).sqrt();
                let tolerance = Tolerance::sum(n_terms, magnitude);
                compare(&[narrow], &[wide], tolerance).unwrap();
                let without_a_term = wide + magnitude;
                assert!(
                    compare(&[narrow], &[without_a_term], tolerance).is_err(),
                    "{n_terms} terms: a missing one passes"
                );
            }
        }
    }
}

#[test]
fn a_canary_lives_only_under_a_tolerance_that_sees_it() {
    let want = [0.5, -2.0, 1.0];
    let got = [0.5, -2.0, 1.0];
    for (tolerance, sees) in [
        (Tolerance::exact(), true),
        (Tolerance::ulps(4.0), true),
        (Tolerance { abs: 0.0199, rel: 0.0 }, true),
        (Tolerance { abs: 0.0201, rel: 0.0 }, false),
        (Tolerance { abs: 0.0, rel: 0.02 }, false),
        (WIDE, false),
    ] {
        let result = canary(&got, &want, tolerance);
        match result {
            Ok(()) => assert!(sees, "{tolerance:?}"),
            Err(Mismatch::Blind { index, .. }) => {
                assert!(!sees && index == 1, "{tolerance:?}: {result:?}")
            }
            Err(_) => panic!("{tolerance:?}: {result:?}"),
        }
    }
}

#[test]
fn a_canary_works_on_special_results() {
    let tight = Tolerance::sum(8, 1.0);
    canary(&[0.0; 4], &[0.0; 4], tight).unwrap();
    canary(&[f32::INFINITY], &[INF], tight).unwrap();
    canary(&[f32::INFINITY, 1.0], &[INF, 1.0], tight).unwrap();
    canary(&[1e-40], &[1e-40], Tolerance::ulps(1.0)).unwrap();
    canary(&[3e38], &[3e38], Tolerance::ulps(1.0)).unwrap();
    assert!(matches!(canary(&[0.0; 4], &[0.0; 4], WIDE), Err(Mismatch::Blind { .. })));
}

#[test]
fn a_canary_does_not_hide_a_mismatch() {
    let tight = Tolerance::ulps(1.0);
    assert_eq!(canary(&[], &[], tight), Err(Mismatch::Empty));
    assert!(matches!(canary(&[1.0], &[2.0], tight), Err(Mismatch::Value { .. })));
    assert!(matches!(canary(&[f32::NAN], &[2.0], tight), Err(Mismatch::Value { .. })));
}
