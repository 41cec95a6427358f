// The tiles of the matmul_tiled4 kernels, loaded as blocks of 4 x 4 and kept in workgroup memory with the terms as
// rows. The importing file binds a, b, bias and out, stores four columns of a row (`store`), and sets SUMS_COLUMNS if
// the first row of tiles passes the sums of B's columns to its `store_column_sums`.
const TM: u32 = 64u;          //: tune
const TN: u32 = 64u;          //: tune
const TK: u32 = 16u;          //: tune
const R4: u32 = 2u;           //: tune
const C4: u32 = 2u;           //: tune
const PAD: u32 = 2u;          //: tune
const TAIL: bool = false;     //: mode false true
const M4: u32 = TM / 4u;
const N4: u32 = TN / 4u;
const K4: u32 = TK / 4u;
// invocations along rows and along columns
const ROWS: u32 = M4 / R4;
const COLS: u32 = N4 / C4;
const WG: u32 = ROWS * COLS;
// blocks of 4 x 4 in the tiles of A and of B
const A_BLOCKS: u32 = M4 * K4;
const B_BLOCKS: u32 = N4 * K4;
const BOTH: bool = A_BLOCKS == WG && B_BLOCKS == WG;
// for sums of B's columns: invocations with the same four columns, and the terms of a tile for each of them
const SHARES: u32 = WG / N4;
const SHARE_TERMS: u32 = TK / SHARES;
const N_SUM: u32 = 4u * R4 * C4;

// (k, four rows) and (k, four columns); PAD after every four terms, so that neighbours store to different banks
const A_SIZE: u32 = TK * M4 + (K4 - 1u) * PAD;
const B_SIZE: u32 = TK * N4 + (K4 - 1u) * PAD;
var<workgroup> a_tile: array<vec4<f32>, A_SIZE>;
var<workgroup> b_tile: array<vec4<f32>, B_SIZE>;

// The part of a matrix that one invocation loads: four vec4, for 4 terms of 4 rows or columns.
struct Source {
    at: vec4<u32>,      // in the first tile along k
    first: vec4<u32>,   // for the first term
    k: u32,
    slot: u32,
}

// `along`: the terms are adjacent. `begin` is the tile's first row or column of `end`, `width` its number of vec4.
fn source(block: u32, width: u32, along: bool, start: u32, begin: u32, end: u32, ld: u32) -> Source {
    let x = select(block % width, block / K4, along);
    let k4 = select(block / width, block % K4, along);
    let lines = vec4<u32>(begin + 4u * x) + vec4<u32>(0u, 1u, 2u, 3u);
    // rows and columns beyond the edge repeat the last ones and are not stored
    var s: Source;
    s.k = 4u * k4;
    s.slot = s.k * width + k4 * PAD + x;
    if along {
        s.first = (start + min(lines, vec4<u32>(end - 1u)) * ld) >> vec4<u32>(2u);
        s.at = s.first + k4;
    } else {
        s.first = vec4<u32>((start + min(lines.x, (end - 1u) & ~3u)) >> 2u);
        s.at = s.first + (s.k + vec4<u32>(0u, 1u, 2u, 3u)) * (ld >> 2u);
    }
    return s;
}

// Where the four vec4 are in the tile from k0, which is `step` further; clamped to a valid place past the end.
fn places(s: Source, along: bool, k0: u32, step: u32) -> vec4<u32> {
    if !TAIL { return s.at + step; }
    let k = vec4<u32>(k0 + s.k) + select(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(0u), along);
    return select(s.at + step, s.first, k >= vec4<u32>(params.k));
}

// The four vec4 transposed so that each holds one term; terms beyond K are 0.
fn by_term(four: mat4x4<f32>, along: bool, k: u32) -> mat4x4<f32> {
    var terms = four;
    if along { terms = transpose(four); }
    if TAIL {
        for (var i = 0u; i < 4u; i++) { //: unroll
            if k + i >= params.k { terms[i] = vec4<f32>(0.0); }
        }
    }
    return terms;
}

fn bring_a(s: Source, k0: u32) {
    let i = places(s, !TRANS_A, k0, select(k0 >> 2u, k0 * (params.a_ld >> 2u), TRANS_A));
    let terms = by_term(mat4x4<f32>(a[i.x], a[i.y], a[i.z], a[i.w]), !TRANS_A, k0 + s.k);
    for (var k = 0u; k < 4u; k++) { //: unroll
        a_tile[s.slot + k * M4] = terms[k];
    }
}

fn bring_b(s: Source, k0: u32) {
    let i = places(s, TRANS_B, k0, select(k0 * (params.b_ld >> 2u), k0 >> 2u, TRANS_B));
    let terms = by_term(mat4x4<f32>(b[i.x], b[i.y], b[i.z], b[i.w]), TRANS_B, k0 + s.k);
    for (var k = 0u; k < 4u; k++) { //: unroll
        b_tile[s.slot + k * N4] = terms[k];
    }
}

// The bias of four columns; columns beyond the last repeat it.
fn bias_at(col: u32) -> vec4<f32> {
    if !BIAS { return vec4<f32>(0.0); }
    let j = min(vec4<u32>(col) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.n - 1u)) + params.bias_start;
    return vec4<f32>(bias[j.x], bias[j.y], bias[j.z], bias[j.w]);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let tiles_m = (params.m + TM - 1u) / TM;
    let tiles_n = (params.n + TN - 1u) / TN;
    let tile = linear_group(group_id, num_groups);
    if tile >= tiles_m * tiles_n { return; }
    let m0 = tile % tiles_m * TM;
    let n0 = tile / tiles_m * TN;
    let starts = batch_starts(group_id.z);
    // neighbours form squares of 8 x 8, so that they read few different elements
    let x = local_id % 8u + local_id / 64u % (COLS / 8u) * 8u;
    let y = local_id / 8u % 8u + local_id / 64u / (COLS / 8u) * 8u;
    // an invocation loads a block of both matrices if there are enough blocks, else of one of them
    let of_a = source(local_id % A_BLOCKS, M4, !TRANS_A, starts.x, m0, params.m, params.a_ld);
    let of_b = source(local_id % B_BLOCKS, N4, TRANS_B, starts.y, n0, params.n, params.b_ld);
    var sums: array<vec4<f32>, N_SUM>;
    let sums_columns = SUMS_COLUMNS && m0 == 0u;
    var column_sums = vec4<f32>(0.0);
    for (var k0 = 0u; k0 < params.k; k0 += TK) {
        if BOTH {
            bring_a(of_a, k0);
            bring_b(of_b, k0);
        } else if local_id < A_BLOCKS {
            bring_a(of_a, k0);
        } else if local_id < A_BLOCKS + B_BLOCKS {
            bring_b(of_b, k0);
        }
        workgroupBarrier();
        if sums_columns {
            for (var i = 0u; i < SHARE_TERMS; i++) {
                let k = local_id / N4 * SHARE_TERMS + i;
                column_sums += b_tile[k * N4 + k / 4u * PAD + local_id % N4];
            }
        }
        for (var k = 0u; k < TK; k++) { //: unroll
            var rows: array<vec4<f32>, R4>;
            var cols: array<vec4<f32>, C4>;
            for (var j = 0u; j < C4; j++) { //: unroll
                cols[j] = b_tile[k * N4 + k / 4u * PAD + x + j * COLS];
            }
            for (var i = 0u; i < R4; i++) { //: unroll
                rows[i] = a_tile[k * M4 + k / 4u * PAD + y + i * ROWS];
            }
            // the last read is used first, so that one wait covers all reads
            for (var i = 0u; i < R4; i++) { //: unroll
                for (var r = 0u; r < 4u; r++) { //: unroll
                    for (var j = 0u; j < C4; j++) { //: unroll
                        let row = vec4<f32>(rows[R4 - 1u - i][3u - r]);
                        let s = (4u * (R4 - i) - 1u - r) * C4 + C4 - 1u - j;
                        sums[s] = fma(row, cols[C4 - 1u - j], sums[s]);
                    }
                }
            }
        }
        workgroupBarrier();
    }
    for (var j = 0u; j < C4; j++) { //: unroll
        let col = n0 + 4u * (x + j * COLS);
        let added = bias_at(col);
        for (var i = 0u; i < R4; i++) { //: unroll
            for (var r = 0u; r < 4u; r++) { //: unroll
                let sum = sums[(4u * i + r) * C4 + j];
                store(starts.z, m0 + 4u * (y + i * ROWS) + r, col, select(sum, sum + added, BIAS));
            }
        }
    }
    if sums_columns {
        a_tile[local_id] = column_sums;
        workgroupBarrier();
        let col = n0 + 4u * local_id;
        if local_id < N4 && col < params.n {
            var value = a_tile[local_id];
            for (var i = 1u; i < SHARES; i++) {
                value += a_tile[local_id + i * N4];
            }
            store_column_sums(group_id.z, col, value);
        }
    }
}
