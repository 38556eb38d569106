//! Private matching: identifier normalisation, mutual tokens, sealed rows.
