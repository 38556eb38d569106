//! The wire: messages, services and their conversion to domain types.
