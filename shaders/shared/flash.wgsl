// The parts shared by the flash attention kernels: parameters, and the division of work. The importing file sets TILE,
// the rows that a workgroup owns, and binds qkv and spans: the start and end of each position's document, (B, T).
//: import rng
const DROPOUT: bool = false;  //: mode false true
// whether a row holds several documents, which attention doesn't cross; if false, spans isn't read
const DOCUMENTS: bool = false;  //: mode false true
// stands for minus infinity as a masked score
const MASKED: f32 = -3.4028235e38;

struct Params { t: u32, c4: u32, n_head: u32, hs4: u32, n_all: u32, first_head: u32, qkv_start4: u32, out_start4: u32,
    row_start: u32, site: u32, threshold: u32, drop_scale: f32, scale: f32 }

// A head of this dispatch and the tile of its rows that a workgroup owns.
struct Tile {
    head: u32,
    first: u32,
    // start of the head's first row, in units of 4: in a tensor as wide as qkv, and in one as wide as out
    wide: u32,
    narrow: u32,
    // start of the head in a tensor (B, NH, T), and among all probabilities
    flat: u32,
    elem: u32,
}

// `last_first`: put the tiles with the most work first, where work grows with the row.
fn tile_of(group: u32, last_first: bool) -> Tile {
    let n_tile = (params.t + TILE - 1u) / TILE;
    let head = group / n_tile;
    let tile = select(group % n_tile, n_tile - 1u - group % n_tile, last_first);
    let seq = head / params.n_head;
    let column = head % params.n_head * params.hs4;
    return Tile(head, tile * TILE,
        params.qkv_start4 + seq * params.t * 3u * params.c4 + column,
        params.out_start4 + seq * params.t * params.c4 + column,
        params.row_start + head * params.t,
        (params.first_head + head) * params.t * params.t);
}

// The start and end of the document of a position, clamped to the last one.
fn span(tile: Tile, row: u32) -> vec2<u32> {
    if !DOCUMENTS { return vec2<u32>(0u, params.t); }
    return spans[(params.first_head + tile.head) / params.n_head * params.t + min(row, params.t - 1u)];
}

// Four channels of a row of qkv, clamped to the last row; 0 beyond the head.
fn four(start: u32, row: u32, d: u32) -> vec4<f32> {
    let at = start + min(row, params.t - 1u) * 3u * params.c4 + min(d, params.hs4 - 1u);
    return select(vec4<f32>(), qkv[at], d < params.hs4);
}

// Dropout of four neighbouring elements.
fn dropout_four(key: u32, elem: u32, values: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(
        dropout(key, elem, params.threshold, params.drop_scale, values.x),
        dropout(key, elem + 1u, params.threshold, params.drop_scale, values.y),
        dropout(key, elem + 2u, params.threshold, params.drop_scale, values.z),
        dropout(key, elem + 3u, params.threshold, params.drop_scale, values.w));
}
