//! The processor's rules, each by a few instructions: segmentation, privilege, paging, exceptions and their
//! delivery, in real, protected and 64-bit mode. What is expected comes from the SDM.

mod exceptions;
mod integer;
mod lab;
mod modified_code;
mod pages;
mod privilege;
mod segments;
mod tasks;
