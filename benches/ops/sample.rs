use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::Sample;
use tril::tensor::{DType, Shape};

pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for (n_row, n_col) in [(1, 256), (8, 256), (1, 50_257)] {
        let inputs = [
            (Shape::new(&[n_row, n_col]), DType::F32),
            (Shape::new(&[Sample::n_setting(n_col)]), DType::U32),
            (Shape::new(&[n_row]), DType::U32),
        ];
        super::bench(c, gpu, &format!("sample/B{n_row}_V{n_col}"), Sample { n_text: 8 }, &inputs, super::Per::Bytes);
    }
}
