// Sets the theme before the first paint. A classic script, so that it runs before the styles.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem('console.theme');
  } catch {
    // Storage is forbidden: the system's theme is used.
  }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
}
