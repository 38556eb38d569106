//! What the broker keeps on disk of a flow that runs: its request, and the owner's sealed rows of each bucket.
//!
//! The rows' keys are the recipient's and never written here, so that a thief of this disk can open nothing, and a broker
//! that was restarted needs the recipient to submit its keys again. All of it goes when the flow ends.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use counterfoil_policy::canaries::CANARIES_MAX;
use counterfoil_policy::request::REQUEST_BYTES_MAX;
use counterfoil_proto::limits::{CANARY_CODE_BYTES, MESSAGE_BYTES_MAX};
use counterfoil_proto::payload::Layout;
use counterfoil_proto::v1::RowsHeader;
use prost::Message as _;

use super::submission::Submission;
use crate::error::Error;
use crate::files::{create_private_dir, write_durably, write_parts_durably};

const REQUEST: &str = "request.json";
const ROWS: &str = "rows";
const CANARIES: &str = "canaries";

/// The directory of all flows that run.
#[derive(Debug, Clone)]
pub(crate) struct RunningFiles {
    dir: PathBuf,
}

impl RunningFiles {
    /// In this directory, which exists.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Keeps a request that was granted; durable on return. A crash before leaves a grant without a request: the next start
    /// closes that flow.
    pub(crate) fn store_request(&self, flow: [u8; 16], signed: &[u8]) -> Result<(), Error> {
        let dir = self.of(flow);
        create_private_dir(&dir)?;
        write_durably(&dir.join(REQUEST), signed)
    }

    /// The request of a flow, if it was kept.
    pub(crate) fn request(&self, flow: [u8; 16]) -> Option<Vec<u8>> {
        let file = File::open(self.of(flow).join(REQUEST)).ok()?;
        let mut signed = Vec::new();
        file.take(REQUEST_BYTES_MAX as u64)
            .read_to_end(&mut signed)
            .ok()?;
        Some(signed)
    }

    /// Keeps the codes of a flow's canaries; durable on return.
    pub(crate) fn store_canaries(&self, flow: [u8; 16], codes: &[u8]) -> Result<(), Error> {
        let dir = self.of(flow);
        create_private_dir(&dir)?;
        write_durably(&dir.join(CANARIES), codes)
    }

    /// The codes of a flow's canaries, if they were kept.
    pub(crate) fn canaries(&self, flow: [u8; 16]) -> Option<Vec<u8>> {
        let file = File::open(self.of(flow).join(CANARIES)).ok()?;
        let mut codes = Vec::new();
        let most = CANARY_CODE_BYTES as u64 * u64::from(CANARIES_MAX);
        file.take(most).read_to_end(&mut codes).ok()?;
        Some(codes)
    }

    /// Keeps the sealed rows of a bucket, in place of those of an earlier attempt; durable on return.
    pub(crate) fn store_rows(
        &self,
        flow: [u8; 16],
        header: &RowsHeader,
        rows: &Submission,
    ) -> Result<(), Error> {
        let dir = self.of(flow);
        create_private_dir(&dir)?;
        let head = header.encode_length_delimited_to_vec();
        let parts = std::iter::once(head.as_slice()).chain(rows.parts());
        write_parts_durably(&rows_path(&dir, header.bucket), parts)
    }

    /// The sealed rows of a bucket, as they were stored.
    pub(crate) fn rows(&self, flow: [u8; 16], bucket: u32) -> Result<Submission, Error> {
        let path = rows_path(&self.of(flow), bucket);
        let mut file = BufReader::new(File::open(&path).map_err(Error::file("read", &path))?);
        let damaged = || Error::Home(format!("`{}` is not what was stored", path.display()));
        let header = read_header(&mut file).ok_or_else(damaged)?;
        let layout = layout(&header).ok_or_else(damaged)?;
        let new = if header.keyed {
            Submission::keyed_rows
        } else {
            Submission::rows
        };
        let mut rows =
            new(&header.session, header.count, header.count, layout).map_err(|_| damaged())?;
        match rows.read_from(file) {
            Ok(read) => read.map_err(|_| damaged())?,
            Err(error) => {
                use std::io::ErrorKind::{InvalidData, UnexpectedEof};
                let cut = matches!(error.kind(), InvalidData | UnexpectedEof);
                return Err(if cut {
                    damaged()
                } else {
                    Error::file("read", &path)(error)
                });
            }
        }
        Ok(rows)
    }

    /// The headers of what is stored of a flow.
    pub(crate) fn headers(&self, flow: [u8; 16]) -> Vec<RowsHeader> {
        let files = fs::read_dir(self.of(flow)).into_iter().flatten().flatten();
        let rows = files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|end| end == ROWS));
        rows.filter_map(|path| read_header(&mut BufReader::new(File::open(path).ok()?)))
            .collect()
    }

    /// Removes all that is kept of a flow. Only to be called once its end is certain.
    pub(crate) fn discard(&self, flow: [u8; 16]) {
        let dir = self.of(flow);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %dir.display(), %error, "what was kept of a flow could not be removed");
            }
            _ => {}
        }
    }

    /// Removes, at a start, what is kept of all flows but these.
    pub(crate) fn keep_only(&self, running: impl Iterator<Item = [u8; 16]>) -> Result<(), Error> {
        let kept: HashSet<PathBuf> = running.map(|flow| self.of(flow)).collect();
        for entry in fs::read_dir(&self.dir).map_err(Error::file("read", &self.dir))? {
            let path = entry.map_err(Error::file("read", &self.dir))?.path();
            if !kept.contains(&path) {
                fs::remove_dir_all(&path).map_err(Error::file("remove", &path))?;
            }
        }
        Ok(())
    }

    fn of(&self, flow: [u8; 16]) -> PathBuf {
        let name: String = flow.iter().map(|b| format!("{b:02x}")).collect();
        self.dir.join(name)
    }
}

/// The layout of stored rows.
pub(crate) fn layout(header: &RowsHeader) -> Option<Layout> {
    let layout = Layout::from_wire(&header.columns).ok()?;
    let layout = match header.consent {
        Some(_) => layout.proven(),
        None => layout,
    };
    let layout = if header.marked {
        layout.marked()
    } else {
        layout
    };
    Some(if header.watched {
        layout.watched()
    } else {
        layout
    })
}

fn rows_path(dir: &Path, bucket: u32) -> PathBuf {
    dir.join(format!("{bucket}.{ROWS}"))
}

fn read_header(file: &mut BufReader<File>) -> Option<RowsHeader> {
    // A length of protobuf: seven bits a byte, lowest first.
    let mut length = 0_usize;
    for shift in [0, 7, 14, 21] {
        let mut byte = [0];
        file.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            break;
        }
    }
    if length > MESSAGE_BYTES_MAX {
        return None;
    }
    let mut header = vec![0; length];
    file.read_exact(&mut header).ok()?;
    RowsHeader::decode(header.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use counterfoil_proto::v1::Column;

    use super::*;

    fn stored(bucket: u32, session: u8) -> (RowsHeader, Submission) {
        let layout = Layout::new(vec![("housing".to_owned(), 8)]).unwrap();
        let header = RowsHeader {
            flow: vec![1; 16],
            session: vec![session; 32],
            count: 2,
            columns: vec![Column {
                tag: "housing".into(),
                width: 8,
            }],
            bucket,
            buckets: 3,
            consent: None,
            marked: false,
            tag_key: Vec::new(),
            keyed: false,
            watched: false,
        };
        let mut rows = Submission::rows(&header.session, 2, 2, layout).unwrap();
        let records = [session, session + 1].map(|byte| [byte; 16 + 9 + 16]);
        rows.push(&records.concat()).unwrap();
        (header, rows)
    }

    #[test]
    fn rows_come_back_and_an_attempt_replaces_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let files = RunningFiles::new(dir.path().to_owned());
        let flow = [1; 16];
        assert_eq!(files.request(flow), None);
        files.store_request(flow, b"{}").unwrap();
        assert_eq!(files.request(flow).unwrap(), b"{}");
        for (bucket, session) in [(0, 5), (2, 6), (0, 7)] {
            let (header, rows) = stored(bucket, session);
            files.store_rows(flow, &header, &rows).unwrap();
        }
        let mut headers = files.headers(flow);
        headers.sort_by_key(|header| header.bucket);
        assert_eq!(headers, [stored(0, 7).0, stored(2, 6).0]);
        let rows = files.rows(flow, 0).unwrap();
        assert_eq!(rows.session.as_bytes(), &[7; 32]);
        assert!(rows.parts().eq(stored(0, 7).1.parts()));
        assert!(files.rows(flow, 1).is_err());
        let path = rows_path(&files.of(flow), 0);
        let whole = fs::read(&path).unwrap();
        for wrong in [
            &whole[..whole.len() - 1],
            &whole[..10],
            b"",
            &[&whole[..], b"x"].concat(),
        ] {
            fs::write(&path, wrong).unwrap();
            assert!(files.rows(flow, 0).is_err());
        }
    }

    #[test]
    fn what_ended_is_removed_at_once_or_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let files = RunningFiles::new(dir.path().to_owned());
        for flow in [1, 2, 3] {
            files.store_request([flow; 16], b"{}").unwrap();
        }
        files.discard([1; 16]);
        files.discard([1; 16]);
        files.keep_only([[2; 16]].into_iter()).unwrap();
        let kept = [1, 2, 3].map(|flow| files.request([flow; 16]).is_some());
        assert_eq!(kept, [false, true, false]);
    }
}
