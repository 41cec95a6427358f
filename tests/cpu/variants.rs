//! Which kernels an op gets on which device.

use std::sync::Arc;

use tril::graph::{GraphBuilder, Phase};
use tril::kernel::{Caps, Choice};
use tril::ops::{ColumnSum, Dropout, Gelu, Matmul, Residual};
use tril::plan::Plan;
use tril::tensor::{DType, Role, Shape, TensorId};

/// The plan of one product of M x K and K x N.
fn product([m, n, k]: [u64; 3], trans_a: bool, caps: &Caps, choice: &Choice) -> Plan {
    let mut builder = GraphBuilder::new();
    let a = if trans_a { [k, m] } else { [m, k] };
    let inputs = [("a", a), ("b", [k, n])]
        .map(|(name, shape)| builder.tensor(name, Shape::new(&shape), DType::F32, Role::Input).unwrap());
    let op = Arc::new(Matmul { trans_a, trans_b: false });
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
fn terms_are_split_if_there_are_few_tiles() {
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
    // a software device splits no terms, and needs no memory for parts: each dispatch adds to the results before it
    let lavapipe = gradient([128, 128, 4096], &Caps::lavapipe());
    assert_eq!(kernels(&lavapipe).iter().map(|(name, ..)| *name).collect::<Vec<_>>(), ["matmul_shuffle"; 4]);
    let bytes = |plan: &Plan| plan.bytes_by_role()[&Role::Activation];
    assert!(bytes(&lavapipe) < 128 * 128 * 4 + 256, "{}", bytes(&lavapipe));
    assert_eq!(bytes(&gradient([128, 128, 4096], &discrete)), 17 * 128 * 128 * 4);
}

const NN: Matmul = Matmul { trans_a: false, trans_b: false };

/// The plan, on a device, of what is built from a product (64, N) of two inputs (64, 32), (32, N).
fn built(n: u64, caps: &Caps, build: impl Fn(&mut GraphBuilder, [TensorId; 3])) -> Plan {
    let mut builder = GraphBuilder::new();
    let [a, b] = [("a", [64, 32]), ("b", [32, n])].map(|(name, dims)| builder.input(name, &dims, DType::F32).unwrap());
    let product = builder.apply1("product", NN, &[a, b]).unwrap();
    build(&mut builder, [a, b, product]);
    Plan::new(builder.finish(), caps, &Choice::default()).unwrap()
}

#[test]
fn products_fuse_what_follows_them_on_gpus_only() {
    let gelu = |builder: &mut GraphBuilder, [_, _, product]: [TensorId; 3]| {
        let out = builder.apply1("gelu", Gelu, &[product]).unwrap();
        builder.set_role(out, Role::Output);
    };
    let names = |plan: &Plan| plan.steps.iter().map(|s| s.dispatch.kernel.name).collect::<Vec<_>>();
    let plan = built(64, &Caps::desktop(), gelu);
    assert_eq!(names(&plan), ["matmul_tiled4_fused"]);
    // a fused result takes no memory
    assert!(plan.bytes_by_role()[&Role::Activation] <= 256);
    assert_eq!(names(&built(64, &Caps::lavapipe(), gelu)), ["matmul_shuffle", "gelu_vec4_forward"]);
    // rows that aren't padded to multiples of four
    assert_eq!(names(&built(66, &Caps::desktop(), gelu)).len(), 2);
    // a product that is read elsewhere, too, is also stored
    let twice = built(64, &Caps::desktop(), |builder, all| {
        gelu(builder, all);
        builder.apply1("columns", ColumnSum, &[all[2]]).unwrap();
    });
    assert_eq!(twice.steps[0].dispatch.modes[0], ("EPILOGUE", "2u"));
}

#[test]
fn what_a_product_cannot_fuse_stays_separate() {
    let desktop = Caps::desktop();
    let n_fused = |plan: &Plan| plan.steps.iter().filter(|s| s.dispatch.kernel.name == "matmul_tiled4_fused").count();
    // a sum with what comes before the product
    let residual = |builder: &mut GraphBuilder, [_, _, product]: [TensorId; 3]| {
        let past = builder.input("past", &[64, 64], DType::F32).unwrap();
        builder.apply1("sum", Residual, &[past, product]).unwrap();
    };
    assert_eq!(n_fused(&built(64, &desktop, residual)), 1);
    // with what comes after it
    let later = |builder: &mut GraphBuilder, [a, b, product]: [TensorId; 3]| {
        let other = builder.apply1("other", NN, &[a, b]).unwrap();
        let other = builder.apply1("gelu", Gelu, &[other]).unwrap();
        builder.apply1("sum", Residual, &[product, other]).unwrap();
    };
    let plan = built(64, &desktop, later);
    assert_eq!((n_fused(&plan), plan.steps.len()), (1, 3));
    // with itself, or read by another op as well
    let both = |builder: &mut GraphBuilder, [_, _, product]: [TensorId; 3]| {
        builder.apply1("sum", Residual, &[product, product]).unwrap();
    };
    assert_eq!(n_fused(&built(64, &desktop, both)), 0);
    let kept = |builder: &mut GraphBuilder, all: [TensorId; 3]| {
        builder.set_role(all[2], Role::Output);
        residual(builder, all);
    };
    assert_eq!(n_fused(&built(64, &desktop, kept)), 0);
    // with dropout between
    let dropped = |builder: &mut GraphBuilder, [a, b, product]: [TensorId; 3]| {
        let rng = builder.input("rng", &[4], DType::U32).unwrap();
        let dropped = builder.apply1("dropout", Dropout { p: 0.1, site: 0 }, &[product, rng]).unwrap();
        residual(builder, [a, b, dropped]);
    };
    assert_eq!(n_fused(&built(64, &desktop, dropped)), 0);
    // sums over the columns of the product's input, before something is added to it
    let columns = |adds_between: bool| {
        built(64, &desktop, move |builder, [a, b, _]| {
            let product = builder.apply1("second", NN, &[a, b]).unwrap();
            let past = builder.apply1("past", NN, &[a, b]).unwrap();
            if adds_between {
                builder.node("add", Arc::new(NN), &[a, b], &[Some((past, true))], Phase::MicroBatch).unwrap();
            }
            builder.apply1("sum", Residual, &[product, past]).unwrap();
            builder.apply1("columns", ColumnSum, &[b]).unwrap();
        })
    };
    // of b by the first product, the residual sum by the last one that stores
    assert_eq!(n_fused(&columns(false)), 2);
    assert_eq!(n_fused(&columns(true)), 1);
}
