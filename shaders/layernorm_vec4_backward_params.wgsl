// layernorm_vec4_backward_params: the gradients of layer norm's weight and bias over chunks of rows, or over all rows.
//
// Shapes:    dweight, dbias (chunks of chunk_rows rows, 4 n_col4); dout, inp (n_row, 4 n_col4); mean, rstd (n_row).
// Work:      one invocation per chunk and 4 columns; neighbours take neighbouring columns.
// Numerics:  sums of products dout xhat and of dout, four rows at a time in order; one more addition with ADD_*.
// Limits:    n_row * n_col4 < 2^30; chunk_rows <= 262,000, as llvmpipe breaks off longer loops; more than 65,535
//            workgroups fold into y. Without BIAS, dbias is not touched.
// Reference: src/reference/layernorm.rs.
//: import index
//: variant cpu WG=16u
const WG: u32 = 64u;             //: tune
const BIAS: bool = false;        //: mode false true
const ADD_WEIGHT: bool = false;  //: mode false true
const ADD_BIAS: bool = false;    //: mode false true

struct Params { n_row: u32, n_col4: u32, first_chunk: u32, chunk_rows: u32 }
@group(0) @binding(0) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dbias: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> inp: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> rstd: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let i = linear_group(group_id, num_groups) * WG + local_id;
    let chunk = i / params.n_col4;
    let col = i % params.n_col4;
    let first = chunk * params.chunk_rows;
    if first >= params.n_row { return; }
    let end = min(first + params.chunk_rows, params.n_row);
    let whole = first + (end - first) / 4u * 4u;
    var sum = vec4<f32>(0.0);
    var sum_dout = vec4<f32>(0.0);
    for (var row = first; row < whole; row += 4u) {
        var part = vec4<f32>(0.0);
        var part_dout = vec4<f32>(0.0);
        for (var j = 0u; j < 4u; j++) { //: unroll
            let at = (row + j) * params.n_col4 + col;
            let d = dout[at];
            part += d * ((inp[at] - mean[row + j]) * rstd[row + j]);
            if BIAS { part_dout += d; }
        }
        sum += part;
        sum_dout += part_dout;
    }
    for (var row = whole; row < end; row++) {
        let at = row * params.n_col4 + col;
        let d = dout[at];
        sum += d * ((inp[at] - mean[row]) * rstd[row]);
        if BIAS { sum_dout += d; }
    }
    let to = (params.first_chunk + chunk) * params.n_col4 + col;
    if ADD_WEIGHT { sum += dweight[to]; }
    dweight[to] = sum;
    if BIAS {
        if ADD_BIAS { sum_dout += dbias[to]; }
        dbias[to] = sum_dout;
    }
}
