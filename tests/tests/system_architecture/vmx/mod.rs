//! Virtual-machine extensions. SDM 3C, "Introduction to Virtual Machine Extensions" to "VMX Support for Address
//! Translation"; SDM 3D, appendices A to C.

mod address_translation;
mod entries;
mod events;
mod instructions;
mod monitor;
mod sensitive;
