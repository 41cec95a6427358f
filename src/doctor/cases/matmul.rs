mod fused;
mod matvec;

use crate::doctor::{Case, Data};
use crate::kernel::Choice;
use crate::ops::Matmul;
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// A running f32 sum of K products and the bias. A product of two uniform values has a root mean square of a third of
/// their largest product; a bias of the same scale adds one more term.
pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ["tiled", "direct", "shuffle"].into_iter().flat_map(kernel_cases).collect();
    cases.extend(shuffle_cases());
    cases.extend(straight_cases());
    cases.extend(tiled_cases());
    cases.extend(fused::cases());
    cases.extend(matvec::cases());
    // large enough for the tile that a device usually picks
    cases.push(product("direct", "usual tile", [136, 164, 128], (false, true), true, 1.0).choice(Choice::default()));
    cases
}

/// The shuffle kernel's larger tiles, at and beyond their edges. The cases are few, as these kernels take long to
/// compile.
fn shuffle_cases() -> impl Iterator<Item = Case> {
    let (nn, nt, tn) = ((false, false), (false, true), (true, false));
    let cases = [
        ("wide", [68, 100, 36], nt, true),
        ("big", [68, 100, 36], nn, false),
        ("big", [68, 132, 36], nt, true),
        ("big", [68, 36, 37], tn, false),
        ("big", [128, 64, 64], tn, false),
    ];
    cases.into_iter().map(|(variant, size, kind, bias)| {
        let choice = Choice::default().pin("matmul", "shuffle").pin("matmul_shuffle", variant);
        let name = if size[0] == 68 { "beyond a tile" } else { "whole tiles" };
        product("shuffle", &format!("{variant}: {name}"), size, kind, bias, 1.0).choice(choice)
    })
}

/// The straight-line kernels: one tile, eight per workgroup, all terms in one call and in several, and products they
/// don't support.
fn straight_cases() -> impl Iterator<Item = Case> {
    let kinds = [(false, false), (false, true), (true, false)];
    let sizes = [
        ("one tile", [4, 32, 128], false),
        ("three tiles", [12, 32, 128], true),
        ("whole workgroups", [32, 64, 128], true),
        ("two calls", [32, 32, 256], true),
        ("one call of half", [32, 32, 64], false),
        ("not of their size", [32, 36, 132], true),
    ];
    let choice = ["matmul_straight", "matmul_straight_dot"]
        .into_iter()
        .fold(Choice::default().pin("matmul", "straight"), |choice, kernel| choice.pin(kernel, "default"));
    let blocks =
        product("straight", "blocks of rows", [132, 8192, 128], (false, false), true, 1.0).choice(choice.clone());
    let small = sizes.into_iter().flat_map(move |(name, size, bias)| {
        let choice = choice.clone();
        kinds.map(|kind| product("straight", name, size, kind, bias, 1.0).choice(choice.clone()))
    });
    small.chain([blocks])
}

/// Each tile of the GPU kernel, pinned, and the kernel for rows that aren't padded to fours: at and beyond the edges of
/// a tile, few terms, one row, one column, terms that are not a multiple of what is loaded at once.
fn tiled_cases() -> impl Iterator<Item = Case> {
    let (nn, nt, tn, tt) = ((false, false), (false, true), (true, false), (true, true));
    let case = |family, variant: &str, name: &str, size, kind, bias| {
        let choice = Choice::default().pin("matmul", family).pin("matmul_tiled4", variant);
        product(family, &format!("{variant}: {name}"), size, kind, bias, 1.0).choice(choice)
    };
    let each = move |variant: &'static str| {
        let side = if variant == "t128" { 128 } else { 64 };
        [
            case("tiled", variant, "whole tiles", [side, side, 32], nn, false),
            case("tiled", variant, "whole tiles", [side, side, 32], nt, true),
            case("tiled", variant, "whole tiles", [side, side, 32], tn, false),
            case("tiled", variant, "whole tiles", [side, side, 32], tt, false),
            case("tiled", variant, "beyond a tile", [side + 4, side + 8, 20], nn, true),
            case("tiled", variant, "beyond a tile", [side + 5, side + 12, 36], nt, false),
            case("tiled", variant, "beyond a tile", [side + 4, side + 4, 21], tn, false),
            case("tiled", variant, "beyond a tile", [side + 8, side + 7, 12], (true, true), true),
            case("tiled", variant, "odd columns", [12, 35, 36], nt, true),
            case("tiled", variant, "one term", [12, 8, 1], tn, false),
            case("tiled", variant, "one row", [1, 68, 40], nt, true),
            case("tiled", variant, "one column", [65, 1, 40], nt, false),
        ]
    };
    let any =
        [nn, nt, tn, tt].map(|kind| case("tiled_any", "default", "multiples of 4", [68, 36, 20], kind, kind == nt));
    // weight gradients whose terms are split: into equal parts, with a remainder, with rows that aren't padded to fours
    let split =
        [("split in two", [36, 40, 512]), ("split with a rest", [36, 40, 1028]), ("split, odd rows", [5, 7, 1030])]
            .map(|(name, size)| case("tiled", "default", name, size, tn, false))
            .into_iter()
            .chain([case("tiled", "default", "split, both transposed", [20, 12, 600], tt, false)]);
    ["default", "t128", "t64x", "t32"].into_iter().flat_map(each).chain(any).chain(split)
}

/// M, N, K, and a name for what is special about them.
const SIZES: [(&str, u64, u64, u64); 8] = [
    ("one element", 1, 1, 1),
    ("not multiples of 4", 7, 5, 3),
    ("multiples of 4", 20, 36, 12),
    ("tile minus 1", 63, 15, 31),
    ("tile plus 1", 65, 17, 33),
    ("several tiles", 130, 132, 68),
    ("one row", 1, 65, 130),
    ("one column", 65, 1, 130),
];

/// One product on one kernel.
fn product(kernel: &str, name: &str, size: [u64; 3], trans: (bool, bool), bias: bool, scale: f32) -> Case {
    let ([m, n, k], (trans_a, trans_b)) = (size, trans);
    let side = |trans: bool, rows: u64, cols: u64| if trans { [cols, rows] } else { [rows, cols] };
    let mut inputs = vec![
        (Shape::new(&side(trans_a, m, k)), Data::uniform(1, m * k, scale)),
        (Shape::new(&side(trans_b, k, n)), Data::uniform(2, k * n, scale)),
    ];
    if bias {
        inputs.push((Shape::new(&[n]), Data::uniform(3, n, scale * scale)));
    }
    let n_term = usize::try_from(k + u64::from(bias)).unwrap_or(usize::MAX);
    let square = f64::from(scale) * f64::from(scale);
    let tolerance = Tolerance::sum(n_term, square * if bias { 3.0_f64.sqrt() } else { 1.0 } / 3.0);
    let kind = format!("{}{}", if trans_a { "T" } else { "N" }, if trans_b { "T" } else { "N" });
    let with = if bias { " with bias" } else { "" };
    Case::new(format!("{kernel} {kind}{with}: {name}"), Matmul { trans_a, trans_b }, inputs, tolerance)
        .choice(Choice::default().pin("matmul", kernel))
}

fn kernel_cases(kernel: &'static str) -> Vec<Case> {
    let case = |name: &str, size, trans, bias, scale| product(kernel, name, size, trans, bias, scale);
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    let mut cases = vec![];
    for (name, m, n, k) in SIZES {
        cases.extend(kinds.map(|kind| case(name, [m, n, k], kind, false, 1.0)));
    }
    let (nn, nt, tn) = (kinds[0], kinds[1], kinds[2]);
    cases.extend([
        case("tile plus 1", [65, 17, 33], nt, true, 1.0),
        case("multiples of 4", [68, 36, 16], nt, true, 1.0),
        case("huge values", [9, 12, 8], nn, false, 1e18),
        case("tiny values", [9, 12, 8], nn, false, 1e-17),
        case("more than 65,535 rows", [65_601, 3, 2], nn, false, 1.0),
        // ranges of M for a and out, of N for b
        case("split over bindings", [200, 150, 20], nt, true, 1.0).max_binding(64 * 150 * 4),
        // ranges of M, and of K, whose later ranges are added
        case("split over bindings", [200, 20, 150], nn, true, 1.0).max_binding(64 * 150 * 4),
        case("split over bindings", [150, 20, 200], tn, true, 1.0).max_binding(64 * 150 * 4),
        case("split over bindings, odd rows", [200, 33, 151], nn, true, 1.0).max_binding(64 * 151 * 4 + 36),
    ]);
    if kernel == "direct" {
        // all kernels fold workgroups the same way; the tiled one takes a minute for this on a software device
        cases.push(case("more than 65,535 workgroups", [65_536 * 64 + 1, 1, 1], nn, false, 1.0));
    }
    cases
}
