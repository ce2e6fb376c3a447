//! The bundled kernel and its disk image.
