// attention_softmax_backward: from the gradient of the dropped-out probabilities to that of the scores, in place.
//
// Shapes:    datt, att (n_row, n_time); rng (4). Row r is query r % n_time, and row 0 is number first_row of the tensor.
// Work:      LANES invocations per row, WG / LANES rows per workgroup; the visible part is read twice.
// Numerics:  dscore = att (datt - sum(att datt)) scale, with dropout's mask made again; exact zeros above the diagonal.
// Limits:    elements of the whole tensor < 2^32. llvmpipe ends an invocation's loops after 65,535 rounds in all, so
//            with LANES 1 n_time <= 120,000.
// Reference: src/reference/attention.rs.
//: import index lanes rng
//: variant cpu WG=8u LANES=1u
const WG: u32 = 64u;          //: tune
const LANES: u32 = 64u;       //: tune
const DROPOUT: bool = false;  //: mode false true

struct Params { n_row: u32, n_time: u32, scale: f32, first_row: u32, site: u32, threshold: u32, keep_scale: f32 }
@group(0) @binding(0) var<storage, read_write> datt: array<f32>;
@group(0) @binding(1) var<storage, read> att: array<f32>;
@group(0) @binding(2) var<storage, read> rng: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

// The gradient of a probability before dropout.
fn dprob(key: u32, row: u32, index: u32) -> f32 {
    let i = row * params.n_time + index;
    if DROPOUT {
        let elem = params.first_row * params.n_time + i;
        return dropout(key, elem, params.threshold, params.keep_scale, datt[i]);
    }
    return datt[i];
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let row = linear_group(group_id, num_groups) * (WG / LANES) + local_id / LANES;
    let lane = local_id % LANES;
    let base = row * params.n_time;
    let real = row < params.n_row;
    let n = select(0u, row % params.n_time + 1u, real);
    let n_store = select(0u, params.n_time, real);
    let key = dropout_key(params.site);

    var sum = 0.0;
    for (var i = lane; i < n; i += 4u * LANES) {
        for (var j = 0u; j < 4u; j++) { //: unroll
            let k = i + j * LANES;
            if k < n { sum += att[base + k] * dprob(key, row, k); }
        }
    }
    let row_sum = lanes_sum(sum, local_id);
    for (var i = lane; i < n_store; i += 4u * LANES) {
        for (var j = 0u; j < 4u; j++) { //: unroll
            let k = i + j * LANES;
            if k < n { datt[base + k] = att[base + k] * (dprob(key, row, k) - row_sum) * params.scale; }
            if k >= n && k < n_store { datt[base + k] = 0.0; }
        }
    }
}
