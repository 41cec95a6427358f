use tril::doctor::{Case, Data, verify};
use tril::ops::Sample;
use tril::reference::compare::Tolerance;
use tril::tensor::Shape;

use super::Golden;

#[test]
fn sample() {
    super::check("sample");
}

#[test]
fn sample_golden() {
    Golden::each("sample", |case| {
        let token = case.u32("token")[0];
        let words = case.u32("words");
        let settings = Sample::settings(
            case.scalar("temperature") as f32,
            case.u32("top_k")[0] as usize,
            case.scalar("top_p") as f32,
            0,
        );
        let mut settings = settings.to_vec();
        settings[3..5].copy_from_slice(&words[..2]);
        let n_col = case.f64("logits").len() as u64;
        settings.extend(Sample::forbidden(n_col, |_| false));
        let inputs = vec![
            case.f32("logits"),
            (Shape::new(&[Sample::n_setting(n_col)]), Data::U32(settings)),
            (Shape::new(&[1]), Data::U32(vec![1])),
        ];
        // the old text tells whether the reference, and so the device, chose PyTorch's token
        let chosen = tril::reference::sample::draw(
            &case.f64("weights"),
            tril::reference::sample::uniform(u64::from(words[1]) << 32 | u64::from(words[0]), words[2], words[3]),
        );
        assert_eq!(chosen, Some(token as usize), "{}", case.name);
        let state = vec![
            (Shape::new(&[1, 4]), Data::U32(vec![0, 0, words[3], words[2]])),
            (Shape::new(&[1, 1]), Data::U32(vec![0])),
        ];
        let op = Case::new(&case.name, Sample { n_text: 1 }, inputs, Tolerance::exact()).state(state);
        verify(&crate::gpu(), &op).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    });
}
