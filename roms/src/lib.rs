//! The bundled firmware.
