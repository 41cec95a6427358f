//! Which kernels an op gets on which device.

use tril::graph::{GraphBuilder, Phase};
use tril::kernel::{Caps, Choice};
use tril::ops::Matmul;
use tril::plan::Plan;
use tril::tensor::{DType, Role, Shape};

/// The plan of one product of M x K and K x N.
fn product([m, n, k]: [u64; 3], trans_a: bool, caps: &Caps, choice: &Choice) -> Plan {
    let mut builder = GraphBuilder::new();
    let a = if trans_a { [k, m] } else { [m, k] };
    let inputs = [("a", a), ("b", [k, n])]
        .map(|(name, shape)| builder.tensor(name, Shape::new(&shape), DType::F32, Role::Input).unwrap());
    let op = Box::new(Matmul { trans_a, trans_b: false });
    builder.node("product", op, &inputs, &[], Phase::MicroBatch).unwrap();
    Plan::new(builder.finish(), caps, choice).unwrap()
}

/// Kernel, variant and workgroups in the batch of each dispatch.
fn kernels(plan: &Plan) -> Vec<(&'static str, &'static str, u32)> {
    plan.steps.iter().map(|s| (s.dispatch.kernel.name, s.dispatch.variant.name, s.dispatch.groups[2])).collect()
}

#[test]
fn tiles_are_as_large_as_leaves_enough_workgroups() {
    let tile = |size, caps: &Caps| kernels(&product(size, false, caps, &Choice::default()))[0];
    let (discrete, integrated) = (Caps::desktop(), Caps::webgpu_default());
    assert_eq!(tile([4096, 3072, 768], &discrete), ("matmul_tiled4", "t128", 1));
    assert_eq!(tile([1024, 768, 768], &discrete), ("matmul_tiled4", "default", 1));
    assert_eq!(tile([128, 128, 128], &discrete), ("matmul_tiled4", "t32", 1));
    assert_eq!(tile([4096, 3072, 768], &integrated), ("matmul_tiled4", "t64x", 1));
    assert_eq!(tile([128, 128, 128], &integrated), ("matmul_tiled4", "t32", 1));
    // rows that don't begin at multiples of four elements
    assert_eq!(tile([128, 127, 128], &discrete), ("matmul_tiled", "default", 1));
    for variant in ["default", "t128", "t64x", "t32"] {
        let pinned = product([64, 64, 64], false, &discrete, &Choice::default().pin("matmul_tiled4", variant));
        assert_eq!(kernels(&pinned), [("matmul_tiled4", variant, 1)]);
    }
}

#[test]
fn terms_are_shared_out_where_there_are_few_tiles() {
    let gradient = |size, caps: &Caps| product(size, true, caps, &Choice::default());
    let discrete = Caps::desktop();
    let total = ("column_sum_total_forward", "default", 1);
    // 16 parts of 256 terms for 4 tiles
    assert_eq!(kernels(&gradient([128, 128, 4096], &discrete)), [("matmul_tiled4", "t32", 16), total]);
    // 4 of 320 and one of 120
    let with_rest = [("matmul_tiled4", "t32", 4), ("matmul_tiled4", "t32", 1), total];
    assert_eq!(kernels(&gradient([128, 128, 1400], &discrete)), with_rest);
    // enough tiles, or too few terms
    assert_eq!(kernels(&gradient([768, 3072, 4096], &discrete)).len(), 1);
    assert_eq!(kernels(&gradient([128, 128, 256], &discrete)).len(), 1);
    // a software device makes no parts, nor room for them
    let lavapipe = gradient([128, 128, 4096], &Caps::lavapipe());
    assert_eq!(kernels(&lavapipe).len(), 1);
    let bytes = |plan: &Plan| plan.bytes_by_role()[&Role::Activation];
    assert!(bytes(&lavapipe) < 128 * 128 * 4 + 256, "{}", bytes(&lavapipe));
    assert_eq!(bytes(&gradient([128, 128, 4096], &discrete)), 17 * 128 * 128 * 4);
}
