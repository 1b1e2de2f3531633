//! The peer list (RFC 4380 section 5.2.4).
