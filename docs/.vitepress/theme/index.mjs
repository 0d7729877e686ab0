// The default theme, with room for tables.
import DefaultTheme from 'vitepress/theme';
import './site.css';

export default DefaultTheme;
