// matmul_shuffle: matrix products in the registers of one subgroup, for devices without fast workgroup memory.
//
// Shapes:    as matmul_direct.
// Work:      one subgroup per TM x TN tile of out, 4 terms at a time. A's values are spread over the lanes and passed
//            on by shuffles with constant lanes; each lane holds CV vec4 of every row of the tile. No barrier.
// Numerics:  f32, terms in the order of k, four products before a sum is written back; with ADD and BIAS one addition
//            each at the end.
// Limits:    every leading dimension, start and stride is a multiple of 4, so that rows are padded to fours, and the
//            padding may hold anything; TAIL if K isn't a multiple of 4, ODD if N isn't. K < 262,140, because of
//            llvmpipe's limit of 65,535 iterations; every element index < 2^32; at most 65,535 matrices in a batch.
// Reference: src/reference/matmul.rs.
//: import index matmul
//: variant wide CV=2u
//: variant big R4=2u CV=2u
//: variant s4 SUBGROUP=4u
//: variant s16 SUBGROUP=16u
const SUBGROUP: u32 = 8u;     //: tune
const R4: u32 = 1u;           //: tune
const CV: u32 = 1u;           //: tune
const TAIL: bool = false;     //: mode false true
const ODD: bool = false;      //: mode false true
const ROWS4: u32 = 4u * SUBGROUP;
const TM: u32 = ROWS4 * R4;
const TN: u32 = 4u * SUBGROUP * CV;
const N_A: u32 = 4u * R4;
const N_B: u32 = 4u * CV;
const N_SUM: u32 = TM * CV;
// elements of A that stay in a core's second-level cache (256 KiB)
const CACHED: u32 = 65536u;

@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// A vec4 along k, with the elements beyond K set to 0.
fn within(k: u32, four: vec4<f32>) -> vec4<f32> {
    if !TAIL { return four; }
    return select(vec4<f32>(0.0), four, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(params.k));
}

fn row_of(k: u32) -> u32 {
    if !TAIL { return k; }
    return min(k, params.k - 1u);
}

// The bias of four columns; columns beyond the last repeat it.
fn bias_at(col: u32) -> vec4<f32> {
    if !BIAS { return vec4<f32>(0.0); }
    let last = params.n - 1u;
    let j = vec4<u32>(min(col, last), min(col + 1u, last), min(col + 2u, last), min(col + 3u, last)) + params.bias_start;
    return vec4<f32>(bias[j.x], bias[j.y], bias[j.z], bias[j.w]);
}

fn store(start: u32, row: u32, col: u32, values: vec4<f32>) {
    if row >= params.m || col >= params.n { return; }
    let i = (start + row * params.out_ld + col) >> 2u;
    var value = values;
    if !ODD || col + 4u <= params.n {
        if ADD { value += out[i]; }
        out[i] = value;
        return;
    }
    for (var c = 0u; c < 3u; c++) { //: unroll
        if col + c < params.n {
            if ADD { value[c] += out[i][c]; }
            out[i][c] = value[c];
        }
    }
}

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // neighbouring workgroups take tiles one below the other, so that B's strip stays in the cache, and turn to the
    // next strip before A's rows have left it
    let tiles_m = (params.m + TM - 1u) / TM;
    let tiles_n = (params.n + TN - 1u) / TN;
    let tile = linear_group(group_id, num_groups);
    if tile >= tiles_m * tiles_n { return; }
    let height = clamp(CACHED / (TM * params.k), 1u, tiles_m);
    let first = tile / (height * tiles_n) * height;
    let tiles = min(height, tiles_m - first);
    let in_block = tile - first * tiles_n;
    let m0 = (first + in_block % tiles) * TM;
    let n0 = in_block / tiles * TN;
    let starts = batch_starts(group_id.z);
    // plus 0, hidden from the compiler: lavapipe makes a kernel for each value of a parameter that alone ends a loop
    let n_term = params.k + (group_id.x >> 16u);
    let a_step = params.a_ld >> 2u;
    let b_step = params.b_ld >> 2u;
    // rows and columns beyond the edge repeat the last ones and are not stored
    var a_at: array<u32, N_A>;
    var b_at: array<u32, N_B>;
    for (var i = 0u; i < R4; i++) { //: unroll
        for (var r = 0u; r < 4u; r++) { //: unroll
            if TRANS_A {
                a_at[4u * i + r] = (starts.x + min(m0 + i * ROWS4 + 4u * lane, (params.m - 1u) & ~3u)) >> 2u;
            } else {
                a_at[4u * i + r] =
                    (starts.x + min(m0 + i * ROWS4 + r * SUBGROUP + lane, params.m - 1u) * params.a_ld) >> 2u;
            }
        }
    }
    for (var j = 0u; j < CV; j++) { //: unroll
        for (var r = 0u; r < 4u; r++) { //: unroll
            let col = n0 + 4u * (j * SUBGROUP + lane);
            if TRANS_B {
                b_at[4u * j + r] = (starts.y + min(col + r, params.n - 1u) * params.b_ld) >> 2u;
            } else {
                b_at[4u * j + r] = (starts.y + min(col, (params.n - 1u) & ~3u)) >> 2u;
            }
        }
    }
    var sums: array<vec4<f32>, N_SUM>;
    for (var k = 0u; k < n_term; k += 4u) {
        // rows[4 i + r]: four terms of row (4 i + r) SUBGROUP + lane; with TRANS_A term r of four rows
        var rows: array<vec4<f32>, N_A>;
        // cols[4 j + r]: term r of four columns
        var cols: array<vec4<f32>, N_B>;
        for (var i = 0u; i < R4; i++) { //: unroll
            for (var r = 0u; r < 4u; r++) { //: unroll
                if TRANS_A {
                    let four = a[a_at[4u * i + r] + row_of(k + r) * a_step];
                    rows[4u * i + r] = select(four, vec4<f32>(0.0), TAIL && k + r >= n_term);
                } else {
                    rows[4u * i + r] = within(k, a[a_at[4u * i + r] + (k >> 2u)]);
                }
            }
        }
        for (var j = 0u; j < CV; j++) { //: unroll
            for (var r = 0u; r < 4u; r++) { //: unroll
                if TRANS_B {
                    let four = within(k, b[b_at[4u * j + r] + (k >> 2u)]);
                    cols[4u * j][r] = four.x;
                    cols[4u * j + 1u][r] = four.y;
                    cols[4u * j + 2u][r] = four.z;
                    cols[4u * j + 3u][r] = four.w;
                } else {
                    cols[4u * j + r] = b[b_at[4u * j + r] + row_of(k + r) * b_step];
                }
            }
        }
        for (var i = 0u; i < R4; i++) { //: unroll
            for (var r = 0u; r < 4u; r++) { //: unroll
                for (var l = 0u; l < SUBGROUP; l++) { //: unroll
                    // the r-th row that lane l holds
                    var x: vec4<f32>;
                    if TRANS_A {
                        x.x = subgroupShuffle(rows[4u * i][r], l);
                        x.y = subgroupShuffle(rows[4u * i + 1u][r], l);
                        x.z = subgroupShuffle(rows[4u * i + 2u][r], l);
                        x.w = subgroupShuffle(rows[4u * i + 3u][r], l);
                    } else {
                        x = subgroupShuffle(rows[4u * i + r], l);
                    }
                    for (var j = 0u; j < CV; j++) { //: unroll
                        let s = ((4u * i + r) * SUBGROUP + l) * CV + j;
                        sums[s] = x.w * cols[4u * j + 3u] + (x.z * cols[4u * j + 2u]
                            + (x.y * cols[4u * j + 1u] + (x.x * cols[4u * j] + sums[s])));
                    }
                }
            }
        }
    }
    var added: array<vec4<f32>, CV>;
    for (var j = 0u; j < CV; j++) { //: unroll
        added[j] = bias_at(n0 + 4u * (j * SUBGROUP + lane));
    }
    for (var i = 0u; i < R4; i++) { //: unroll
        for (var r = 0u; r < 4u; r++) { //: unroll
            for (var l = 0u; l < SUBGROUP; l++) { //: unroll
                for (var j = 0u; j < CV; j++) { //: unroll
                    let row = select(r * SUBGROUP + l, 4u * l + r, TRANS_A);
                    let s = ((4u * i + r) * SUBGROUP + l) * CV + j;
                    let value = select(sums[s], sums[s] + added[j], BIAS);
                    store(starts.z, m0 + i * ROWS4 + row, n0 + 4u * (j * SUBGROUP + lane), value);
                }
            }
        }
    }
}
