//! The relay and the host-specific relay (RFC 4380 section 5.4).
