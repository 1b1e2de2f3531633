//! The program `teredo`; all of it is in the library beside this file, which the fuzz targets can
//! use as well.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    teredo::main()
}
