//! Writes the pages of made-up grades into a folder, to look at their layout.

use offload_grade::report::{class_page, page, sample, terminal};
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("the folder to write into is missing: sample_report FOLDER"));
    };
    let mut grades = sample::all();
    for (i, grade) in grades.iter_mut().enumerate() {
        if grade.name.contains('/') {
            // A name that no folder can have.
            grade.name = format!("hostile-{i}");
        }
        let folder = folder.join(&grade.name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("index.html"), page(grade))?;
        io::Write::write_all(&mut io::stdout(), terminal(grade, true).as_bytes())?;
    }
    fs::write(folder.join("index.html"), class_page(&grades))
}
