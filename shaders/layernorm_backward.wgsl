// layernorm_backward: the gradient of layer norm with respect to its input.
//
// Shapes:    dinp, dout, inp, dsum (n_row, n_col); mean, rstd (n_row); weight (n_col).
// Work:      LANES invocations per row, WG / LANES rows per workgroup; the row is read twice.
// Numerics:  rstd (g - mean(g) - xhat mean(g xhat)) with g = dout weight; one more addition with ADD, and one with
//            DSUM, which adds the gradient that bypasses the norm.
// Limits:    n_row * n_col < 2^32; rows fold into y.
// Reference: src/reference/layernorm.rs.
//: import index lanes
//: variant cpu WG=16u LANES=1u
const WG: u32 = 64u;      //: tune
const LANES: u32 = 64u;   //: tune
const ADD: bool = false;  //: mode false true
const DSUM: bool = false; //: mode false true

struct Params { n_row: u32, n_col: u32 }
@group(0) @binding(0) var<storage, read_write> dinp: array<f32>;
@group(0) @binding(1) var<storage, read> dout: array<f32>;
@group(0) @binding(2) var<storage, read> inp: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> rstd: array<f32>;
@group(0) @binding(6) var<storage, read> dsum: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

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
    let base = row * params.n_col;
    let share = 1.0 / f32(params.n_col);
    let in_range = min(row, params.n_row - 1u);
    let row_mean = mean[in_range];
    let row_rstd = rstd[in_range];

    var sum_g = 0.0;
    var sum_g_xhat = 0.0;
    for (var i = lane; i < n; i += LANES) {
        let g = dout[base + i] * weight[i];
        sum_g += g;
        sum_g_xhat += g * ((inp[base + i] - row_mean) * row_rstd);
    }
    let mean_g = lanes_sum(sum_g, local_id) * share;
    let mean_g_xhat = lanes_sum(sum_g_xhat, local_id) * share;
    for (var i = lane; i < n; i += LANES) {
        let xhat = (inp[base + i] - row_mean) * row_rstd;
        var d = row_rstd * (dout[base + i] * weight[i] - mean_g - xhat * mean_g_xhat);
        if DSUM { d += dsum[base + i]; }
        if ADD { d += dinp[base + i]; }
        dinp[base + i] = d;
    }
}
