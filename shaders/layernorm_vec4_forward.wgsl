// layernorm_vec4_forward: each row normalised, scaled and shifted, where rows have a multiple of 4 elements.
//
// Shapes:    out, inp (n_row, 4 n_col4); mean, rstd (n_row); weight, bias (4 n_col4).
// Work:      LANES invocations per row, WG / LANES rows per workgroup; the row is read three times.
// Numerics:  as layernorm_forward; a lane sums the four elements of its vectors separately and combines them at the
//            end.
// Limits:    n_row * n_col4 < 2^30; differences from the mean below 1e19 / sqrt(n_col); rows fold into y.
// Reference: src/reference/layernorm.rs.
//: import index lanes
//: variant cpu WG=16u LANES=1u
const WG: u32 = 64u;      //: tune
const LANES: u32 = 64u;   //: tune
const BIAS: bool = true;  //: mode false true

struct Params { n_row: u32, n_col4: u32, eps: f32 }
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;
@group(0) @binding(2) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(3) var<storage, read> inp: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let row = linear_group(group_id, num_groups) * (WG / LANES) + local_id / LANES;
    let lane = local_id % LANES;
    // a row past the end has no columns, but its lanes must still reach the barriers
    let n = select(0u, params.n_col4, row < params.n_row);
    let base = row * params.n_col4;
    let share = 0.25 / f32(params.n_col4);
    let one = vec4<f32>(1.0);

    var sum = vec4<f32>(0.0);
    for (var i = lane; i < n; i += LANES) { sum += inp[base + i]; }
    let row_mean = lanes_sum(dot(sum, one), local_id) * share;
    var squares = vec4<f32>(0.0);
    for (var i = lane; i < n; i += LANES) {
        let d = inp[base + i] - row_mean;
        squares += d * d;
    }
    let row_rstd = 1.0 / sqrt(lanes_sum(dot(squares, one), local_id) * share + params.eps);
    for (var i = lane; i < n; i += LANES) {
        var value = (inp[base + i] - row_mean) * row_rstd * weight[i];
        if BIAS { value += bias[i]; }
        out[base + i] = value;
    }
    if lane == 0u && row < params.n_row {
        mean[row] = row_mean;
        rstd[row] = row_rstd;
    }
}
