// attention_softmax_forward: scale, causal mask and softmax of attention scores in place, and their dropped-out copy.
//
// Shapes:    att, dropped: n_row rows of T, from row first_row of (B, NH, T, T); rng (4). Row i of a head sees columns
//            up to i; with DOCUMENTS, from the first of its document on, spans (B, T, 2). Without DROPOUT, dropped is
//            not touched.
// Work:      LANES invocations per row.
// Numerics:  exp of (score - max) * scale only; sums in f32, a lane's columns in order and then a tree over lanes.
// Limits:    elements of the whole att < 2^32; more than 65,535 workgroups fold into y.
// Reference: src/reference/attention.rs.
//: import index attention_row rng
const DROPOUT: bool = false;  //: mode false true
// whether a row holds several documents, which attention doesn't cross; if false, spans isn't read
const DOCUMENTS: bool = false;  //: mode false true

struct Params { n_row: u32, t: u32, n_head: u32, first_row: u32, att_start: u32, dropped_start: u32, site: u32,
    threshold: u32, drop_scale: f32, scale: f32 }
@group(0) @binding(0) var<storage, read_write> att: array<f32>;
@group(0) @binding(1) var<storage, read_write> dropped: array<f32>;
@group(0) @binding(2) var<storage, read> rng: array<u32>;
@group(0) @binding(3) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let row = linear_group(group_id, num_groups) * (WG / LANES) + local_id / LANES;
    // with one row per workgroup the whole workgroup returns, so no barrier waits for it
    if row >= params.n_row { return; }
    let lane = local_id % LANES;
    let i = (params.first_row + row) % params.t;
    var since = 0u;
    var begin = lane;
    if DOCUMENTS {
        since = spans[(params.first_row + row) / (params.t * params.n_head) * params.t + i].x;
        // a lane keeps its columns, since it reads back what it wrote
        begin = since + (lane + LANES - since % LANES) % LANES;
    }
    let start = params.att_start + row * params.t;
    var top = -3.4028235e38;
    for (var j = begin; j <= i; j += LANES) {
        top = max(top, att[start + j]);
    }
    top = row_max(top, lane);
    var sum = 0.0;
    for (var j = begin; j <= i; j += LANES) {
        let e = exp((att[start + j] - top) * params.scale);
        att[start + j] = e;
        sum += e;
    }
    let inverse = 1.0 / row_sum(sum, lane);
    var key = 0u;
    if DROPOUT { key = dropout_key(params.site); }
    for (var j = lane; j < params.t; j += LANES) {
        var p = 0.0;
        if since <= j && j <= i { p = att[start + j] * inverse; }
        att[start + j] = p;
        if DROPOUT {
            let elem = (params.first_row + row) * params.t + j;
            dropped[params.dropped_start + row * params.t + j] =
                dropout(key, elem, params.threshold, params.drop_scale, p);
        }
    }
}
