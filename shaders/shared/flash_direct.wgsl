// Flash attention for devices without fast workgroup memory: no barrier, and rows of heads kept in registers. A lane owns
// OWN rows. The other side comes in rounds of ROUND rows: with subgroups these are spread over the lanes, LANES / ROUND of
// which share a row, and passed round by shuffles with a constant index; without, every lane loads them.
//: variant cpu8x4 SUBGROUP=8u SHUFFLE=1u PLAIN=0u OWN=4u
//: variant cpu8x2 SUBGROUP=8u SHUFFLE=1u PLAIN=0u OWN=2u
//: variant cpu8x1 SUBGROUP=8u SHUFFLE=1u PLAIN=0u OWN=1u
const SUBGROUP: u32 = 0u;     //: tune
// loops of one round or none, since code with shuffles in it is refused where there are no subgroups
const SHUFFLE: u32 = 0u;      //: tune
const PLAIN: u32 = 1u;        //: tune
const OWN: u32 = 1u;          //: tune
const ROUND: u32 = 4u;        //: tune
const DROPOUT: bool = false;  //: mode false true
// the head size, or the next larger of these, in fours
const HS4: u32 = 16u;         //: mode 4u 8u 12u 16u 24u 32u
const LANES: u32 = 8u;
const TILE: u32 = LANES * OWN;
const N_OWN: u32 = OWN * HS4;
// fours of a row that a lane loads
const PART: u32 = HS4 * ROUND / LANES;
// what a masked score is instead of minus infinity
const MASKED: f32 = -3.4028235e38;

struct Params { t: u32, c4: u32, n_head: u32, hs4: u32, n_all: u32, first_head: u32, qkv_start4: u32, out_start4: u32,
    row_start: u32, site: u32, threshold: u32, drop_scale: f32, scale: f32 }

// A head of this dispatch and the tile of rows that a workgroup owns in it.
struct Tile {
    head: u32,
    first: u32,
    // of the head's first row, in fours: in a tensor as wide as qkv, and in one as wide as out
    wide: u32,
    narrow: u32,
    // of the head's first element in a tensor (B, NH, T), and among all probabilities
    flat: u32,
    elem: u32,
}

// `last_first`: tiles with the most work come first where it grows with the row.
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

// The lane's i-th own row, which may lie beyond the last.
fn own_row(tile: Tile, lane: u32, i: u32) -> u32 {
    return tile.first + i * LANES + lane;
}

// Four channels of a row of qkv, or of the last row; 0 beyond the head.
fn four(start: u32, row: u32, d: u32) -> vec4<f32> {
    let at = start + min(row, params.t - 1u) * 3u * params.c4 + min(d, params.hs4 - 1u);
    return select(vec4<f32>(), qkv[at], d < params.hs4);
}
