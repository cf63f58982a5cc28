//! Just enough HTTP/1.1 for both ends: heads with a length-delimited body, kept alive, pipelined or byte by byte.

use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead, Read, Write};

/// How the bytes are handed to the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// A message a call.
    Whole,
    /// A byte a call.
    Bytewise,
}

/// A request line's target, and the body that came with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    /// Values of `traceparent`.
    pub(crate) contexts: Vec<String>,
}

/// Reads a request; `None` at the end of the stream.
pub(crate) fn read_request(stream: &mut impl BufRead) -> Result<Option<Request>> {
    let Some(head) = read_head(stream)? else {
        return Ok(None);
    };
    let path = head[0]
        .split(' ')
        .nth(1)
        .context("a request line without a target")?
        .to_owned();
    let body = read_body(stream, &head)?;
    let fields = head.iter().filter_map(|line| line.split_once(": "));
    let contexts = fields.filter(|(name, _)| name.eq_ignore_ascii_case("traceparent"));
    Ok(Some(Request {
        path,
        body,
        contexts: contexts.map(|(_, value)| value.to_owned()).collect(),
    }))
}

/// Reads a response: its status, and its body.
pub(crate) fn read_response(stream: &mut impl BufRead) -> Result<(u16, Vec<u8>)> {
    let head = read_head(stream)?.context("the connection ended instead of a response")?;
    let status = head[0]
        .split(' ')
        .nth(1)
        .context("a status line without a status")?
        .parse()?;
    Ok((status, read_body(stream, &head)?))
}

/// Writes `message` as `writes` says.
pub(crate) fn write(stream: &mut impl Write, message: &[u8], writes: Writes) -> Result<()> {
    match writes {
        Writes::Whole => stream.write_all(message)?,
        Writes::Bytewise => {
            for byte in message {
                stream.write_all(&[*byte])?;
            }
        }
    }
    Ok(())
}

/// A head's lines without their ends, the empty one left out.
pub(crate) fn read_head(stream: &mut impl BufRead) -> Result<Option<Vec<String>>> {
    let mut lines: Vec<String> = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            ensure!(lines.is_empty(), "the connection ended in a head: {lines:?}");
            return Ok(None);
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            ensure!(!lines.is_empty(), "an empty head");
            return Ok(Some(lines));
        }
        lines.push(line.to_owned());
    }
}

/// Reads as much as the head says.
pub(crate) fn read_body(stream: &mut impl Read, head: &[String]) -> Result<Vec<u8>> {
    let fields = head.iter().filter_map(|line| line.split_once(':'));
    let length = fields
        .rev()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length
        .map_or(Ok(0), |(_, value)| value.trim().parse())
        .context("a wrong content-length")?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelined_requests_are_read_one_by_one() -> Result<()> {
        let mut stream = &b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nxx"[..];
        assert_eq!(
            read_request(&mut stream)?,
            Some(Request {
                path: "/a".to_owned(),
                body: Vec::new(),
                contexts: Vec::new(),
            })
        );
        assert_eq!(
            read_request(&mut stream)?,
            Some(Request {
                path: "/b".to_owned(),
                body: b"xx".to_vec(),
                contexts: Vec::new(),
            })
        );
        assert_eq!(read_request(&mut stream)?, None);
        Ok(())
    }

    #[test]
    fn a_head_that_ends_early_is_an_error() {
        assert!(read_request(&mut &b"GET /a HTTP/1.1\r\n"[..]).is_err());
        assert!(read_response(&mut &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx"[..]).is_err());
    }
}
