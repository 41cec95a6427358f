// cross_entropy_projection_forward: losses of a chunk of projected rows and, in the logits' place, their gradient.
//
// Shapes:    losses, lse, targets (n_row); logits (n_row, 4 ld4), of which n_col columns count; scale (1).
// Work:      LANES invocations per row, WG / LANES rows per workgroup; with GRADIENT the row is read a second time.
// Numerics:  a lane keeps its largest logit so far and the sum of exp(logit - largest), rescaled when the largest
//            changes; lanes are combined by a tree. gradient = exp(logit - lse) scale, less scale at the target; 0 in
//            ignored rows and in the columns beyond n_col.
// Limits:    n_row * 4 ld4 < 2^32; logits within half of f32's range; a target outside the row is ignored.
//            llvmpipe ends an invocation's loops after 65,535 iterations in total, so with LANES 1 n_col <= 262,000.
// Source:    Milakov and Gimelshein 2018, "Online normalizer calculation for softmax".
//: import index lanes
//: variant cpu WG=16u LANES=1u
const WG: u32 = 256u;          //: tune
const LANES: u32 = 256u;       //: tune
const GRADIENT: bool = false;  //: mode false true

struct Params { n_row: u32, n_col: u32, ld4: u32 }
@group(0) @binding(0) var<storage, read_write> losses: array<f32>;
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;
@group(0) @binding(2) var<storage, read_write> logits: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn largest(x: vec4<f32>) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}

fn total(x: vec4<f32>) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let row = linear_group(group_id, num_groups) * (WG / LANES) + local_id / LANES;
    let lane = local_id % LANES;
    // a row past the end has no columns, but its lanes must still reach the barriers
    let n = select(0u, params.n_col, row < params.n_row);
    let base = min(row, params.n_row - 1u) * params.ld4;
    let n4 = n / 4u;
    // the valid columns of the last, partial vector
    let n_last = n % 4u;
    let counts = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(n_last);
    let is_last = n_last > 0u && n4 % LANES == lane;

    // starts with a number of the row, so that no difference below leaves f32's range
    var most = logits[base].x;
    var sum = 0.0;
    // blocks of four vectors, then the remaining vectors
    let n_block = n4 / (4u * LANES);
    for (var block = 0u; block < n_block; block++) {
        let i = base + block * 4u * LANES + lane;
        let a = logits[i];
        let b = logits[i + LANES];
        let c = logits[i + 2u * LANES];
        let d = logits[i + 3u * LANES];
        let top = max(most, largest(max(max(a, b), max(c, d))));
        let e = (exp(a - top) + exp(b - top)) + (exp(c - top) + exp(d - top));
        sum = sum * exp(most - top) + total(e);
        most = top;
    }
    for (var i = n_block * 4u * LANES + lane; i < n4; i += LANES) {
        let a = logits[base + i];
        let top = max(most, largest(a));
        sum = sum * exp(most - top) + total(exp(a - top));
        most = top;
    }
    if is_last {
        let a = select(vec4<f32>(most), logits[base + n4], counts);
        let top = max(most, largest(a));
        sum = sum * exp(most - top) + total(select(vec4<f32>(0.0), exp(a - top), counts));
        most = top;
    }
    let row_max = lanes_max(most, local_id);
    let row_log = log(lanes_sum(sum * exp(most - row_max), local_id));
    let row_lse = row_max + row_log;
    let goal = targets[min(row, params.n_row - 1u)];
    let goal4 = goal / 4u;
    if lane == 0u && row < params.n_row {
        lse[row] = row_lse;
        var loss = 0.0;
        if goal < n { loss = row_log - (logits[base + goal4][goal % 4u] - row_max); }
        losses[row] = loss;
    }
    if GRADIENT {
        // lane 0 has read the target's logit before its lane overwrites it
        if LANES > 1u { storageBarrier(); workgroupBarrier(); }
        let factor = scale[0];
        for (var block = 0u; block < n_block; block++) {
            let first = base + block * 4u * LANES + lane;
            for (var j = 0u; j < 4u; j++) { //: unroll
                let i = first + j * LANES;
                var d = vec4<f32>(0.0);
                if goal < n { d = exp(logits[i] - row_lse) * factor; }
                logits[i] = d;
            }
        }
        for (var i = base + n_block * 4u * LANES + lane; i < base + n4; i += LANES) {
            var d = vec4<f32>(0.0);
            if goal < n { d = exp(logits[i] - row_lse) * factor; }
            logits[i] = d;
        }
        if is_last {
            let d = exp(select(vec4<f32>(row_lse), logits[base + n4], counts) - row_lse) * factor;
            logits[base + n4] = select(vec4<f32>(0.0), d, counts & vec4<bool>(goal < n));
        }
        if goal < n && goal4 % LANES == lane { logits[base + goal4][goal % 4u] -= factor; }
    }
}
