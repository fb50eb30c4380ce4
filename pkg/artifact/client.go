package artifact

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/retry"
)

const (
	maxRetries = 3
	// maxWait is how long a request waits for a registry that asked for time. Whoever asked for more is left to the caller.
	maxWait = 10 * time.Second
	// maxRetryAfter keeps a registry from silencing its client for good.
	maxRetryAfter = time.Hour
)

// retrying repeats requests that were refused or lost on the way.
func retrying(base http.RoundTripper) http.RoundTripper {
	return &retry.Transport{Base: base, Policy: func() retry.Policy { return policy{} }}
}

type policy struct{}

// Retry returns how long to wait before the next attempt; a negative wait means that there is none.
func (policy) Retry(attempt int, answer *http.Response, failure error) (time.Duration, error) {
	const enough = -1
	if attempt >= maxRetries {
		return enough, nil
	}
	if again, err := retry.DefaultPredicate(answer, failure); err != nil || !again {
		return enough, err
	}
	if answer == nil {
		return retry.DefaultBackoff(attempt, nil), nil
	}
	if answer.StatusCode == http.StatusNotImplemented {
		return enough, nil
	}
	wait := max(retryAfter(answer), retry.DefaultBackoff(attempt, nil))
	deadline, bounded := answer.Request.Context().Deadline()
	if wait > maxWait || (bounded && time.Until(deadline) < wait) {
		// The caller learns what the registry answered, not that its own time was spent waiting.
		return enough, nil
	}
	return wait, nil
}

// retryAfter reads the header of that name, which holds seconds or a date.
func retryAfter(answer *http.Response) time.Duration {
	value := answer.Header.Get("Retry-After")
	var wait time.Duration
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		wait = time.Until(date)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// unavailable turns the answers of an overloaded or broken registry, token service or storage into errors that keep what the client library forgets.
type unavailable struct {
	base http.RoundTripper
}

// RoundTrip makes the request; its error is a [RegistryError] when the server cannot serve it now.
func (r unavailable) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := r.base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode < http.StatusInternalServerError {
		return answer, nil
	}
	err = &RegistryError{StatusCode: answer.StatusCode, RetryAfter: retryAfter(answer), Host: request.URL.Host}
	return nil, errors.Join(err, answer.Body.Close())
}

// discreet keeps the queries of addresses out of errors: a registry may redirect to storage with an address that is a credential.
type discreet struct {
	remote.Client
}

// Do makes the request.
func (d discreet) Do(request *http.Request) (*http.Response, error) {
	answer, err := d.Client.Do(request)
	if failed := new(url.Error); errors.As(err, &failed) {
		if address, err := url.Parse(failed.URL); err == nil {
			failed.URL = withoutQuery(address).String()
		}
	}
	if err != nil {
		return nil, err
	}
	answer.Request = answer.Request.WithContext(request.Context()) // a copy: the address is that of the last redirect
	answer.Request.URL = withoutQuery(answer.Request.URL)
	return answer, nil
}

func withoutQuery(address *url.URL) *url.URL {
	clean := *address
	clean.RawQuery, clean.Fragment, clean.User = "", "", nil
	return &clean
}
