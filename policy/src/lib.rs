//! What may leave and in which form: agreements, segments, minimisation.
