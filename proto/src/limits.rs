//! Every bound on what a peer may send, in one place, with its arithmetic.

/// One gRPC message, in bytes. Data streams send pieces of at most [`CHUNK_BYTES`]; the rest is head room for
/// field tags and for the largest unary messages (an agreement of 32 KiB with its signatures).
pub const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A piece of a stream of rows, keys or sealed delivery, in bytes.
pub const CHUNK_BYTES: usize = 1024 * 1024;

/// One Noise message, in bytes (Noise specification, section 3: 65,535).
pub const NOISE_MESSAGE_BYTES_MAX: usize = 65_535;

/// Rows of one side in one flow: the largest set that the matching takes. An agreement may only lower it.
pub const ROWS_MAX: u64 = 1 << 24;

/// Columns of one flow.
pub const COLUMNS_MAX: usize = 64;

/// Bytes of one value of one column.
pub const VALUE_BYTES_MAX: usize = 128;

/// Bytes of one row's consent proof: two days of 4 bytes, and a MAC of 16.
pub const PROOF_BYTES: usize = 24;

/// Bytes of one row's mark tag: at most 32 bits, big-endian.
pub const MARK_TAG_BYTES: usize = 4;

/// Bytes of the code by which a canary is known.
pub const CANARY_CODE_BYTES: usize = 16;

/// Bytes of one row's plaintext: a proof, a mark tag, a canary's code, and [`COLUMNS_MAX`] values with their length bytes.
pub const PAYLOAD_BYTES_MAX: usize =
    PROOF_BYTES + MARK_TAG_BYTES + CANARY_CODE_BYTES + COLUMNS_MAX * (1 + VALUE_BYTES_MAX);

/// Bytes that the broker holds of one flow's submissions. A flow that needs more is refused at its header.
pub const SUBMISSION_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Bytes of a delivery's plaintext: places in it are told as `u32`.
pub const DELIVERY_BYTES_MAX: u64 = u32::MAX as u64;

/// Frames that the relay holds for a slow reader, in each direction. Each agent has at most [`POINTS_WINDOW`]
/// of its own and as many of its partner's chunks under way, so that neither can block the other by only sending.
pub const RELAY_FRAMES: usize = 2 * POINTS_WINDOW + 8;

/// Chunks of points that an agent sends before it waits for the first answer.
pub const POINTS_WINDOW: usize = 8;

/// Attempts at one session, most. A session is repeated when a connection or a process broke; see
/// `broker/party/src/owner/attempts.rs` for what the owner's agent allows a recipient in all.
pub const ATTEMPTS_MAX: u32 = 64;

/// Stands for a bucket where the agents meet before any bucket is matched.
pub const MEETING: u32 = u32::MAX;

/// Buckets of one flow, most: `counterfoil_psi::buckets` of the largest set into the smallest buckets.
pub const BUCKETS_MAX: u32 = 1 << 14;

/// Processes among which either side parts the buckets of a flow, most. As many sessions of a flow may wait for the owner.
pub const SHARDS_MAX: u32 = 16;

/// Fewest rows of a leaked file that are scored: scores of a few rows would tell single symbols.
pub const LEAK_ROWS_MIN: u64 = 50;

/// Most rows of a leaked file that are scored at once.
pub const LEAK_ROWS_MAX: usize = 1_000_000;

/// Most columns of it that could carry marks.
pub const LEAK_COLUMNS_MAX: usize = 64;

/// Most cells of a leaked file in one scoring: each takes some 40 bytes of the broker's memory.
pub const LEAK_CELLS_MAX: usize = 8_000_000;

/// Bytes of its mark tags and cells together.
pub const LEAK_BYTES_MAX: usize = 128 * 1024 * 1024;
