package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"stillhouse"
)

// A remote is what the Hub says of a file. The etag is the sha256 of a large file (64 hex digits) or the git blob's
// sha1 of a small one (40).
type remote struct {
	etag string
	size int64 // -1 when it isn't said
}

var etagName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// file puts one file into the cache, unless it is there.
func (r *repository) file(ctx context.Context, commit, name string) error {
	if _, err := os.Stat(filepath.Join(r.snapshot(commit), filepath.FromSlash(name))); err == nil {
		return nil
	}
	address := r.page() + "/resolve/" + commit + "/" + (&url.URL{Path: name}).EscapedPath()
	var f remote
	err := r.retry(ctx, func() (err error) {
		f, err = r.head(ctx, address, name)
		return err
	})
	if err != nil {
		return err
	}
	unlock, err := r.lock(ctx, f.etag)
	if err != nil {
		return fmt.Errorf("%s: lock the cache: %w", name, full(err))
	}
	defer unlock()
	if info, err := os.Stat(r.blob(f.etag)); err != nil || f.size >= 0 && info.Size() != f.size {
		if err := r.download(ctx, address, name, f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := r.point(commit, name, f.etag); err != nil {
		return fmt.Errorf("%s: write the cache: %w", name, full(err))
	}
	return nil
}

// head asks for a file's etag and size.
func (r *repository) head(ctx context.Context, address, name string) (remote, error) {
	resp, err := r.follow(ctx, http.MethodHead, address, nil, false)
	if err != nil {
		return remote{}, err
	}
	resp.Body.Close()
	if resp.StatusCode >= 400 {
		return remote{}, r.refused(resp, name)
	}
	etag, size := resp.Header.Get("X-Linked-Etag"), resp.Header.Get("X-Linked-Size")
	if etag == "" {
		etag = resp.Header.Get("ETag")
	}
	if size == "" && resp.StatusCode < 300 {
		size = resp.Header.Get("Content-Length")
	}
	f := remote{etag: strings.Trim(strings.TrimPrefix(strings.TrimSpace(etag), "W/"), `"`), size: -1}
	if !etagName.MatchString(f.etag) {
		return remote{}, stillhouse.Permanentf("%s: the server gives no usable ETag: is HF_ENDPOINT a Hub?", name)
	}
	if n, err := strconv.ParseInt(size, 10, 64); err == nil && n >= 0 {
		f.size = n
	}
	return f, nil
}

// lock takes the lock that huggingface_hub takes for the same file.
func (r *repository) lock(ctx context.Context, etag string) (unlock func(), err error) {
	if err := os.MkdirAll(r.locks, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(r.locks, etag+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS) {
			return func() { f.Close() }, nil // closing gives it back; where there are no locks the check of the content remains
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// download gets the bytes of a file into the .incomplete file beside its blob, going on where an earlier try stopped,
// checks them and gives them their name.
func (r *repository) download(ctx context.Context, address, name string, f remote) error {
	incomplete := r.blob(f.etag) + ".incomplete"
	if err := os.MkdirAll(filepath.Dir(incomplete), 0o755); err != nil {
		return full(err)
	}
	began := sizeOf(incomplete)
	if f.size >= 0 && began > f.size {
		os.Remove(incomplete)
		began = 0
	}
	if err := enough(filepath.Dir(incomplete), f.size-began); err != nil {
		return err
	}
	for {
		before := sizeOf(incomplete)
		err := r.retry(ctx, func() error {
			for {
				had := sizeOf(incomplete)
				err := r.receive(ctx, address, name, incomplete, f)
				if err == nil || stillhouse.KindOf(err) != stillhouse.Transient || sizeOf(incomplete) <= had || ctx.Err() != nil {
					return err
				} // some bytes came before the connection broke: that is no vain try
			}
		})
		if err != nil {
			return err
		}
		err = f.check(incomplete)
		if err == nil {
			break
		}
		os.Remove(incomplete)
		if before == 0 || !errors.Is(err, errContent) {
			return err
		} // the bytes of an earlier run may be at fault: once more from the start
	}
	file, err := os.OpenFile(incomplete, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return full(err)
	}
	return os.Rename(incomplete, r.blob(f.etag))
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// stall is how long a server may send nothing.
const stall = time.Minute

// receive appends what the server sends to the incomplete file.
func (r *repository) receive(ctx context.Context, address, name, incomplete string, f remote) (err error) {
	file, err := os.OpenFile(incomplete, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return full(err)
	}
	defer func() { err = errors.Join(err, full(file.Close())) }()
	have, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if f.size >= 0 && have == f.size {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer watch.Stop()
	header := http.Header{}
	if have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := r.follow(ctx, http.MethodGet, address, header, true)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch s := resp.StatusCode; {
	case s == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)):
	case s == http.StatusOK || s == http.StatusPartialContent || s == http.StatusRequestedRangeNotSatisfiable:
		// The whole file, another piece than asked for, or no such piece: the bytes there are don't count.
		if err := errors.Join(file.Truncate(0), seek(file)); err != nil {
			return err
		}
		if have = 0; s != http.StatusOK {
			return stillhouse.Transientf("%s sent another piece than was asked for", resp.Request.URL.Host)
		}
	default:
		return r.refused(resp, name)
	}
	buffer := make([]byte, 1<<18)
	for {
		n, readErr := resp.Body.Read(buffer)
		watch.Reset(stall)
		if have += int64(n); f.size >= 0 && have > f.size {
			return stillhouse.Permanentf("the server sends more than the %d bytes it said", f.size)
		}
		if n > 0 {
			if _, err := file.Write(buffer[:n]); err != nil {
				return full(err)
			}
			r.Progress(name, have, f.size)
		}
		switch {
		case errors.Is(readErr, io.EOF) && (f.size < 0 || have == f.size):
			return nil
		case readErr != nil:
			if errors.Is(readErr, io.EOF) {
				readErr = io.ErrUnexpectedEOF
			}
			if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errStalled) {
				return cause
			} else if cause != nil {
				readErr = cause
			}
			return stillhouse.Transientf("the connection to %s broke after %d bytes: %w", resp.Request.URL.Host, have, plain(readErr))
		}
	}
}

func seek(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// errContent is wrapped when a file is not what the Hub says it is.
var errContent = errors.New("the file is not what the Hub says it is, and was deleted: try again; if it stays so, a proxy or mirror changes it")

// check compares a file with its size and hash.
func (f remote) check(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if f.size >= 0 && info.Size() != f.size {
		return stillhouse.Permanentf("it has %d bytes, not %d: %w", info.Size(), f.size, errContent)
	}
	var h hash.Hash
	switch {
	case isHex(f.etag, 64):
		h = sha256.New()
	case isHex(f.etag, 40):
		h = sha1.New()
		fmt.Fprintf(h, "blob %d\x00", info.Size())
	default:
		return nil
	}
	if _, err := io.Copy(h, file); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != f.etag {
		return stillhouse.Permanentf("its hash is %s, not %s: %w", sum, f.etag, errContent)
	}
	return nil
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// enough fails when the disk has no room for n more bytes.
func enough(dir string, n int64) error {
	var s syscall.Statfs_t
	if n <= 0 || syscall.Statfs(dir, &s) != nil {
		return nil
	}
	if free := int64(s.Bavail) * int64(s.Bsize); free < n {
		return stillhouse.Invalidf("the disk of %s has %d MB left and %d MB are to come: free some, or set HF_HOME to a larger disk",
			dir, free/1e6, n/1e6)
	}
	return nil
}

// full says what to do about an error of a full disk.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return stillhouse.Invalidf("the disk is full (%w): free some space, or set HF_HOME to a larger disk; what has arrived is kept", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return stillhouse.Invalidf("%w: set HF_HOME to a folder that can be written", err)
	}
	return err
}
