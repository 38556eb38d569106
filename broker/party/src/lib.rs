//! The agent of an institution: keys, data sources, the owner's and the recipient's side of a flow.
