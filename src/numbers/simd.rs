pub fn parse(_bytes: &[u8], _out: &mut Vec<i64>) -> Option<usize> {
    None
}
